"""A node's book in memory: it outlives its agent, and a killed agent writes in it no more."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from services.node_agent.domain.attachments import Attachment, Claim
from services.node_agent.domain.ports import (
    Cooling,
    DamagedPage,
    KnownPod,
    NodeRecord,
    Saved,
)
from shared.ids import AttachmentKey, PodUid


@dataclass(slots=True)
class Pages:
    """What is on the node's disk."""

    node: NodeRecord = field(default_factory=NodeRecord)
    claims: dict[AttachmentKey, Claim] = field(default_factory=dict)
    attachments: dict[AttachmentKey, Attachment] = field(default_factory=dict)
    cooling: dict[IPv4Address, Cooling] = field(default_factory=dict)
    pods: dict[PodUid, KnownPod] = field(default_factory=dict)


class MemoryBook:
    """Implements Book; `check` raises for an agent that is dead."""

    def __init__(self, pages: Pages, check: Callable[[], None]) -> None:
        self._pages = pages
        self._check = check

    def load(self) -> Saved:
        pages = self._pages
        return Saved(
            node=deepcopy(pages.node),
            claims=tuple(pages.claims.values()),
            attachments=tuple(pages.attachments.values()),
            cooling=tuple(pages.cooling.values()),
            pods=tuple(pages.pods.values()),
        )

    def note_whole(self) -> None:
        pass  # nothing is lost here

    def remove_damaged(self, page: DamagedPage) -> None:
        raise AssertionError(f"no page is damaged here, and {page} is removed")

    def save_node(self, record: NodeRecord) -> None:
        self._check()
        self._pages.node = deepcopy(record)

    def save_claim(self, claim: Claim) -> None:
        self._check()
        self._pages.claims[claim.key] = claim

    def remove_claim(self, key: AttachmentKey) -> None:
        self._check()
        self._pages.claims.pop(key, None)

    def save_attachment(self, attachment: Attachment) -> None:
        self._check()
        self._pages.attachments[attachment.key] = attachment

    def remove_attachment(self, key: AttachmentKey) -> None:
        self._check()
        self._pages.attachments.pop(key, None)

    def save_cooling(self, cooling: Cooling) -> None:
        self._check()
        self._pages.cooling[cooling.holding.address] = cooling

    def remove_cooling(self, address: IPv4Address) -> None:
        self._check()
        self._pages.cooling.pop(address, None)

    def save_pod(self, pod: KnownPod) -> None:
        self._check()
        self._pages.pods[pod.uid] = pod

    def remove_pod(self, uid: PodUid) -> None:
        self._check()
        self._pages.pods.pop(uid, None)
