"""What a client of the bus is, and the name that it connects with (pure).

Apart from what each may do, which names every message there is: a client knows only its own.
"""

from __future__ import annotations

from enum import StrEnum

from shared.ids import NodeName


class Role(StrEnum):
    """What a key is for."""

    ALLOCATOR = "allocator"
    ENI_MANAGER = "eni_manager"
    NODE_AGENT = "node_agent"
    OPERATOR = "operator"
    OBSERVER = "observer"  # hears what has happened and reads lists; changes nothing


def client_name(role: Role, node: NodeName | None = None) -> str:
    """The name a client of this role connects with: its inbox follows from it."""
    return role.value if node is None else f"{role.value}-{node}"
