"""Files that tell systemd-networkd and NetworkManager to leave pods' links and our rules alone.

networkd removes rules and routes that it did not make each time it is started; both may take
up a new link. A daemon that this machine does not have gets no file. They are read when it is
started next; until then what it breaks is repaired.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from services.node_agent.domain.attachments import HOST_PREFIX

_NAMES: Final = tuple(prefix + "?" * 11 for prefix in HOST_PREFIX.values())

_SAID: Final = "# Berth's: pods' links, routes and rules are the node agent's affair.\n"
_CONTENTS: Final = {
    "systemd/networkd.conf.d/10-berth.conf": (
        "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n"
    ),
    # Before any file of the machine's that would match: the first match counts.
    "systemd/network/00-berth.network": (
        f"[Match]\nKind=veth\nName={' '.join(_NAMES)}\n\n[Link]\nUnmanaged=yes\n"
    ),
    # A section of its own: those of several files add up, lists of devices do not.
    "NetworkManager/conf.d/10-berth.conf": (
        "[device-berth]\nmatch-device="
        f"{';'.join(f'interface-name:{name}' for name in _NAMES)}\nmanaged=0\n"
    ),
}


def drop_ins(etc_dir: Path) -> dict[Path, bytes]:
    """Path and content of each that this machine has a reader for."""
    return {
        etc_dir / name: (_SAID + content).encode()
        for name, content in _CONTENTS.items()
        if (etc_dir / name.partition("/")[0]).is_dir()
    }
