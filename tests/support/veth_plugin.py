"""A small CNI plugin of the tests: real links in the runner's namespace, refusals on order.

Its folder is named in the configuration: ``calls`` gets a line of JSON for each call, ``next``
is the last number given as an address, ``refusals`` holds one CNI error a line, used up first.
"""

from __future__ import annotations

import json
import os
import sys
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

from shared.kernel.addresses import add_address
from shared.kernel.conversation import Conversation
from shared.kernel.links import VethEnd, add_veth, delete_link, link_by_name, set_up
from shared.kernel.netns import open_netns
from shared.kernel.routes import Route, add_route
from shared.kernel.sysctl import link_path, write_sysctl

GATEWAY = IPv4Address("10.9.0.1")


def install(bin_dir: Path, conf_dir: Path, folder: Path) -> None:
    """Make the program and the configuration list that calls it."""
    program = bin_dir / "test-veth"
    root = Path(__file__).resolve().parents[2]
    program.write_text(
        f"#!{sys.executable}\n"
        f"import sys\nsys.path.insert(0, {str(root)!r})\n"
        "from tests.support.veth_plugin import main\nmain()\n"
    )
    program.chmod(0o755)
    body = {
        "cniVersion": "1.0.0",
        "name": "test",
        "plugins": [{"type": "test-veth", "folder": str(folder)}],
    }
    (conf_dir / "10-test.conflist").write_text(json.dumps(body))


def main() -> None:
    config = json.load(sys.stdin)
    folder = Path(config["folder"])
    verb = os.environ["CNI_COMMAND"]
    with (folder / "calls").open("a") as calls:
        environment = {key: os.environ[key] for key in sorted(os.environ) if "CNI_" in key}
        calls.write(json.dumps({"environment": environment, "config": config}) + "\n")
    if verb == "ADD":
        refusal = _refusal(folder)
        if refusal:
            sys.stdout.write(json.dumps(refusal))
            sys.exit(1)
        sys.stdout.write(json.dumps(_add(folder)))
    elif verb == "DEL":
        _delete()


def _refusal(folder: Path) -> Any:
    file = folder / "refusals"
    lines = file.read_text().splitlines() if file.exists() else []
    if not lines:
        return None
    file.write_text("\n".join(lines[1:]))
    return json.loads(lines[0])


def _add(folder: Path) -> dict[str, Any]:
    file = folder / "next"
    number = int(file.read_text()) + 1 if file.exists() else 10
    file.write_text(str(number))
    address = IPv4Address(f"10.9.0.{number}")
    netns = open_netns(os.environ["CNI_NETNS"])
    with Conversation() as host, Conversation(netns) as pod:
        host.do([add_veth(VethEnd(name=_host()), VethEnd(name="eth0", netns=netns), mtu=1500)])
        host_link, pod_link = link_by_name(host, _host()), link_by_name(pod, "eth0")
        assert host_link is not None, "just made"
        assert pod_link is not None, "just made"
        host.do([add_address(host_link.index, IPv4Interface(GATEWAY)), set_up(host_link.index)])
        pod.do([add_address(pod_link.index, IPv4Interface(address)), set_up(pod_link.index)])
        host.do([add_route(Route(to=IPv4Network(address), link=host_link.index))])
        everywhere = IPv4Network("0.0.0.0/0")
        pod.do(
            [
                add_route(
                    Route(to=everywhere, link=pod_link.index, gateway=GATEWAY, is_onlink=True)
                )
            ]
        )
        write_sysctl("ipv4/ip_forward", "1")
        write_sysctl(link_path(_host(), "rp_filter"), "1")
        return {
            "cniVersion": "1.0.0",
            "interfaces": [
                {"name": _host(), "mac": host_link.mac},
                {"name": "eth0", "mac": pod_link.mac, "sandbox": os.environ["CNI_NETNS"]},
            ],
            "ips": [{"address": f"{address}/32", "gateway": str(GATEWAY), "interface": 1}],
        }


def _delete() -> None:
    with Conversation() as host:
        link = link_by_name(host, _host())
        if link is not None:
            host.do([delete_link(link.index)])


def _host() -> str:
    return "tst" + os.environ["CNI_CONTAINERID"][:11]
