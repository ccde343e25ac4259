"""The declared security groups on a node's ENIs, by difference, those alike in one call."""

from __future__ import annotations

import logging
from dataclasses import replace

from services.eni_manager.domain.groups import GroupStep, group_steps
from services.eni_manager.domain.records import EniRecord
from services.eni_manager.node_book import NodeBook
from services.eni_manager.tools import Tools
from shared.cloud.errors import RETRIED, CloudError
from shared.ids import EniId

log = logging.getLogger(__name__)


class GroupSync:
    """The caller holds the node's lock, and has just observed the node."""

    def __init__(self, book: NodeBook, tools: Tools) -> None:
        self._book = book
        self._tools = tools

    async def sync(self) -> None:
        """Without declared groups ENIs keep those they were made with. What the cloud refuses
        is told and tried again at the next look: the node is served meanwhile. An annotation of
        the Node may want none."""
        declared = self._tools.security_groups
        if not declared:
            return
        if self._tools.capacities.has_no_groups(self._book.node):
            declared = ()
        image = self._book.image
        alike: dict[tuple[str, ...], list[EniRecord]] = {}
        for each in (*image.secondary(), *image.whole()):
            if set(each.security_groups) != set(declared):
                alike.setdefault(each.security_groups, []).append(each)
        for current, records in alike.items():
            try:
                for step in group_steps(current, declared):
                    await self._apply(step, [each.eni for each in records])
            except RETRIED:
                raise
            except CloudError as error:
                log.warning(
                    "security groups are not as declared",
                    extra={"node": self._book.node.node, "error": str(error)},
                )
                continue
            changed = [replace(each, security_groups=declared) for each in records]
            await self._book.write(put=changed)

    async def _apply(self, step: GroupStep, enis: list[EniId]) -> None:
        cloud = self._tools.cloud
        change = cloud.associate_groups if step.is_addition else cloud.disassociate_groups
        await self._tools.call(self._book.check_term, lambda: change(enis, step.groups))
