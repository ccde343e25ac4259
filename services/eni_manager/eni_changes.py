"""Changes at the cloud for one node, each with its intent written first.

Whoever finds an unfinished intent, in a later round or as the node's next owner, goes on where
the last one ended: calls with a ClientToken are repeated with it, the others are made safe to
repeat by describing before them.
"""

from __future__ import annotations

from services.eni_manager.address_changes import AddressChanges
from services.eni_manager.domain.records import Intent, IntentKind
from services.eni_manager.eni_additions import EniAdditions
from services.eni_manager.eni_removals import EniRemovals
from services.eni_manager.node_book import NodeBook
from services.eni_manager.sighting import Sighting
from services.eni_manager.tools import Tools


class EniChanges:
    """The verbs of one node's ENIs. The caller holds the node's lock."""

    def __init__(self, book: NodeBook, tools: Tools) -> None:
        self.sighting = Sighting(book, tools)
        self.additions = EniAdditions(book, tools, self.sighting)
        self.addresses = AddressChanges(book, tools, self.sighting)
        self.removals = EniRemovals(book, tools, self.sighting)

    async def finish(self, intent: Intent) -> None:
        """Go on with what an earlier round, or an earlier owner, began."""
        match intent.kind:
            case IntentKind.ADD_ENI:
                await self.additions.finish(intent)
            case IntentKind.REMOVE_ENI:
                await self.removals.finish(intent)
            case IntentKind.ASSIGN:
                await self.addresses.finish_assign(intent)
            case IntentKind.UNASSIGN:
                await self.addresses.finish_unassign(intent)
            case IntentKind.MOVE | IntentKind.RECALL:
                raise AssertionError(f"{intent.kind} is not finished here")
