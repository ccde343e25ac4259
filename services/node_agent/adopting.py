"""Wires that the kernel has and the book does not: live pods whose pages were lost.

A page goes only after its pod's route, so a route without a page tells of a lost page, not of
a deletion that was cut off. Whose it is stands in the link's label, or in the state folder when
the address is a lease's. Where nothing tells, the wire stays as it is and its address is
nobody else's until the link has gone with its namespace.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from shared.addresses import AddressState
from shared.annotations import DeletePolicy, NetworkMode
from shared.clock import Clock
from shared.ids import (
    UNKNOWN_NETWORK,
    AttachmentKey,
    EniId,
    Generation,
    Identity,
    PodName,
    PodUid,
)
from shared.telemetry.metrics import ADOPTED_TOTAL

from .domain.attachments import (
    FIRST_IFNAME,
    HOST_PREFIX,
    Attachment,
    Claim,
    ClaimPhase,
    OwnEni,
    Phase,
    is_pod_link,
)
from .domain.exclusive import veth_ifname
from .domain.labels import Label, read_label
from .domain.ports import Kernel, Link, Observed, PodEnd
from .domain.wiring import MAC_PREFIX
from .ledger import Ledger

log = logging.getLogger(__name__)

_FREE: Final = (AddressState.STOCK, AddressState.COOLING)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lost:
    """A wire without a page, and what tells of it."""

    link: Link
    address: IPv4Address
    label: Label | None
    claim: Claim | None  # the lease that the address is
    mode: NetworkMode

    @property
    def key(self) -> AttachmentKey:
        if self.label is not None:
            return self.label.key
        if self.claim is not None:
            return self.claim.key
        return AttachmentKey(UNKNOWN_NETWORK, self.link.name, FIRST_IFNAME)

    @property
    def pod(self) -> PodName | None:
        if self.label is not None and self.label.pod is not None:
            return self.label.pod
        return None if self.claim is None else self.claim.identity.pod

    @property
    def pod_uid(self) -> PodUid | None:
        if self.claim is not None:
            return self.claim.pod_uid
        return None if self.label is None else self.label.pod_uid

    @property
    def generation(self) -> Generation | None:
        if self.claim is not None:
            return self.claim.generation
        return None if self.label is None else self.label.generation

    @property
    def identity(self) -> Identity | None:
        if self.claim is not None:
            return self.claim.identity
        if self.label is None or self.label.generation is None:
            return None
        if self.label.identity is not None or self.pod is None:
            return self.label.identity
        return Identity(self.pod.namespace, self.pod.name, self.label.key.network)


class Adoption:
    """Once, at start, before anything is undone."""

    def __init__(self, *, kernel: Kernel, ledger: Ledger, clock: Clock) -> None:
        self._kernel = kernel
        self._ledger = ledger
        self._clock = clock

    def adopt(self) -> int:
        """Enter what the book lacks; returns how many."""
        count = 0
        for lost in self._lost(self._kernel.observe()):
            attachment = self._attachment(lost)
            if attachment is not None:
                self._ledger.adopt(attachment, self._clock.now())
                count += 1
        self._ledger.make_whole(self._clock.now())
        return count

    def _lost(self, observed: Observed) -> list[_Lost]:
        address_of = {
            route.link: route.destination.network_address
            for route in observed.routes
            if route.destination.prefixlen == 32 and route.via is None
        }
        return [
            _Lost(
                link=link,
                address=address_of[link.name],
                label=read_label(link.label),
                claim=self._ledger.claim_on(address_of[link.name]),
                mode=_mode(link.name),
            )
            for link in observed.links
            if link.name in address_of
            and is_pod_link(link.name)
            and link.mac.startswith(MAC_PREFIX)
            and self._ledger.attachments.of_link(link.name) is None
        ]

    def _attachment(self, lost: _Lost) -> Attachment | None:
        """None: somebody else has the address by now, or nothing tells of which ENI it is."""
        eni = self._eni(lost)
        why = "its ENI is not known" if eni is None else self._why_not(lost)
        if eni is None or why is not None:
            ADOPTED_TOTAL.labels("refused").inc()
            log.error("wire not adopted", extra=_named(lost) | {"why": why})
            if lost.generation is not None and lost.claim is None:
                self._ledger.strike_lost(lost.address)  # a lease's, whoever's: not ours to give
            return None
        path = "" if lost.label is None else lost.label.netns_path
        end = self._kernel.pod_end(lost.link, path) if path else None
        is_known = lost.key.network != UNKNOWN_NETWORK
        ADOPTED_TOTAL.labels("known" if is_known else "unknown").inc()
        log.warning("wire adopted", extra=_named(lost) | {"is_known": is_known})
        return self._made(lost, eni, end, path)

    def _made(self, lost: _Lost, eni: EniId, end: PodEnd | None, path: str) -> Attachment:
        link, generation = lost.link, lost.generation
        own = self._own_eni(lost, eni, end)
        mac = _other_than(link.mac) if end is None else end.mac
        return Attachment(
            key=lost.key,
            pod=lost.pod,
            pod_uid=lost.pod_uid,
            mode=lost.mode,
            policy=DeletePolicy.IMMEDIATE if generation is None else DeletePolicy.NEVER,
            address=lost.address,
            eni=eni,
            generation=generation,
            host_ifname=link.name,
            host_mac=link.mac,
            mac=mac if own is None else self._ledger.enis[eni].mac,
            mtu=link.mtu,
            # One that names another namespace by now says nothing of the pod's.
            netns_path="" if end is None and os.path.exists(path) else path,
            netns_inode=None if end is None else end.netns_inode,
            phase=Phase.WIRED,
            since=self._clock.now(),
            own_eni=own,
            identity=lost.identity,
        )

    def _eni(self, lost: _Lost) -> EniId | None:
        """The address' ENI by the best word there is; of a whole one its record is needed."""
        held = self._ledger.stock.get(lost.address)
        if lost.claim is not None and lost.claim.eni is not None:
            eni = lost.claim.eni
        elif held is not None:
            eni = held.eni
        elif lost.label is not None:
            eni = lost.label.eni
        else:
            return None
        is_whole = lost.mode is NetworkMode.EXCLUSIVE
        return None if is_whole and eni not in self._ledger.enis else eni

    def _why_not(self, lost: _Lost) -> str | None:
        """What the state folder says goes before what is on a link."""
        if self._ledger.attachments.get(lost.key) is not None:
            return "its attachment has another wire"
        claim = lost.claim
        if claim is not None:
            if claim.key == lost.key and claim.phase is ClaimPhase.BOUND:
                return None
            return f"the address is {claim.phase} for {claim.key}"
        if lost.generation is not None and (lost.pod is None or lost.pod_uid is None):
            return "whose lease its address is, is not known"
        held = self._ledger.stock.get(lost.address)
        return None if held is None or held.state in _FREE else f"the address is {held.state}"

    def _own_eni(self, lost: _Lost, eni: EniId, end: PodEnd | None) -> OwnEni | None:
        if lost.mode is not NetworkMode.EXCLUSIVE:
            return None
        record = self._ledger.enis[eni]
        return OwnEni(
            subnet_cidr=record.subnet_cidr,
            gateway=record.gateway,
            veth_ifname=veth_ifname(lost.key.ifname) if end is None else end.ifname,
            veth_mac=_other_than(lost.link.mac) if end is None else end.mac,
            by_veth=() if end is None else end.by_gateway,
        )


def _other_than(host_mac: str) -> str:
    """Of a pod's end that cannot be seen: what CHECK misses, and the next ADD makes."""
    return f"{host_mac[:-2]}{int(host_mac[-2:], 16) ^ 1:02x}"


def _mode(host_link: str) -> NetworkMode:
    return next(mode for mode, prefix in HOST_PREFIX.items() if host_link.startswith(prefix))


def _named(lost: _Lost) -> dict[str, str]:
    return {
        "link": lost.link.name,
        "address": str(lost.address),
        "attachment": str(lost.key),
        "pod": str(lost.pod or ""),
    }
