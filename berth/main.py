"""``berth``: the command line."""

from __future__ import annotations

import logging
import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from berth.commands import capacity, cni, lease, node, pod, subnet
from berth.commands.adopting import import_claims
from berth.commands.cluster import disable, enable
from berth.commands.doctor import doctor
from berth.commands.keys import keys
from berth.commands.output import fail
from berth.commands.recover import backup, recover, restore
from berth.commands.status import status
from shared.errors import BerthError
from shared.runtime.lifecycle import version
from shared.settings import InvalidSettings

_EXIT_INTERRUPTED = 130  # as a shell says it: 128 + SIGINT

app = typer.Typer(
    name="berth",
    help="Fixed VPC addresses for Kubernetes pods.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
if find_spec("services.vpc_simulator"):  # images for production leave the simulated cloud out
    from berth.commands.demo import demo
    from berth.commands.down import down
    from berth.commands.up import up

    app.command()(demo)
    app.command()(up)
    app.command()(down)
app.command()(status)
app.command()(keys)
app.command("import")(import_claims)
app.command()(doctor)
app.command()(backup)
app.command()(restore)
app.command()(recover)
app.command()(enable)
app.command()(disable)
app.add_typer(capacity.app, name="capacity")
app.add_typer(cni.app, name="cni")
app.add_typer(lease.app, name="lease")
app.add_typer(node.app, name="node")
app.add_typer(subnet.app, name="subnet")
app.add_typer(pod.app, name="pod")


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"berth {version()}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="The release."),
    ] = False,
) -> None:
    """Fixed VPC addresses for Kubernetes pods."""


def main() -> None:
    """The console script: expected failures are one line and a status, never a traceback."""
    # What libraries of the services log is for their logs; a command's errors are one line.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(_EXIT_INTERRUPTED)
    except InvalidSettings as error:
        sys.stderr.write(f"berth: {error}\n")
        sys.exit(2)
    except BerthError as error:
        fail(str(error))


if __name__ == "__main__":
    main()
