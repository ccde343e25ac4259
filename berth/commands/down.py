"""``berth down``: end everything that ``berth up`` started."""

from __future__ import annotations

from berth.commands.options import Json, RunDir
from berth.commands.output import say, show_json
from berth.playground.detached import stop_detached


def down(run_dir: RunDir, as_json: Json = False) -> None:
    """Stop every process and take away every namespace, link and file."""
    stop_detached(run_dir.absolute())
    if as_json:
        show_json({"run_dir": str(run_dir), "is_up": False})
    else:
        say(f"down: nothing is left of {run_dir}")
