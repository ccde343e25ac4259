"""``berth status``: what runs, and whether it serves."""

from __future__ import annotations

from berth.commands.options import Json, RunDir
from berth.commands.output import say, show, show_json
from berth.playground.state import read_state
from shared.kernel.processes import started_at


def status(run_dir: RunDir, as_json: Json = False) -> None:
    """The playground's processes and where to reach bus, store and cloud."""
    state = read_state(run_dir.absolute())
    processes = [
        {
            "name": child.name,
            "pid": child.pid,
            "is_running": started_at(child.pid) == child.started,
            "log": str(child.log_file),
        }
        for child in state.children
    ]
    places = {"bus": state.nats_url, "store": state.redis_url, "cloud": state.cloud_url}
    if as_json:
        show_json({"cluster": state.cluster, **places, "processes": processes})
        return
    show(processes, ("name", "pid", "is_running", "log"), title="Processes", as_json=False)
    for what, place in places.items():
        say(f"{what:<6} {place}")
