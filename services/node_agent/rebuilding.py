"""What an agent makes of the book it opens: whole, each address once, and nothing guessed.

A page that is lost or damaged is made up for by the others. Where they cannot tell, an idle
address may be a lease's: it is struck off, and comes back by an offer, which is made only of
what no lease has.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime
from ipaddress import AddressValueError, IPv4Address

from shared.addresses import AddressState
from shared.ids import EniId, Identity

from .domain.attachments import Attachment, Claim, ClaimPhase
from .domain.ports import Book, Cooling, PageKind, Saved, User
from .domain.stock import Holding

log = logging.getLogger(__name__)

FIXED_PHASES = (ClaimPhase.BOUND, ClaimPhase.RELEASING)


def open_book(book: Book, now: datetime) -> Saved:
    """What is made up for is on disk before a damaged page goes, in its place or elsewhere."""
    saved = _without_closed(book.load(), book)
    claims = _claims_of_attachments(saved)
    cooling = _cooling_anew(saved, now)
    whole = replace(saved, claims=(*saved.claims, *claims), cooling=(*saved.cooling, *cooling))
    for claim in claims:
        log.warning("claim rebuilt", extra={"attachment": str(claim.key)})
        book.save_claim(claim)
    for each in cooling:
        book.save_cooling(each)
    if _lacks_a_claim(whole):
        proven = _in_use(whole)
        owned = tuple(each for each in whole.node.owned if each[0] in proven)
        log.warning(
            "idle addresses struck off: one may be a lease's",
            extra={"count": len(whole.node.owned) - len(owned)},
        )
        whole = replace(whole, node=replace(whole.node, owned=owned))
        book.save_node(whole.node)
    replaced = {
        *(claim.key.digest for claim in claims),
        *(str(each.holding.address) for each in cooling),
    }
    for page in saved.damaged:
        if page.name not in replaced:
            book.remove_damaged(page)
    return replace(whole, damaged=())


def holdings(saved: Saved, now: datetime) -> list[Holding]:
    """Each address once: a claim's word beats an attachment's, that beats cooling, stock."""
    found: dict[IPv4Address, Holding] = {}

    def put(address: IPv4Address, eni: EniId, state: AddressState, since: datetime) -> None:
        found[address] = Holding(address=address, eni=eni, state=state, since=since)

    owned = dict(saved.node.owned)
    for address, eni in owned.items():
        put(address, eni, AddressState.STOCK, now)
    for cooling in saved.cooling:
        if cooling.holding.address in owned:
            found[cooling.holding.address] = cooling.holding
    for attachment in saved.attachments:
        if attachment.generation is None:
            put(
                attachment.address,
                attachment.eni,
                AddressState.BOUND_IMMEDIATE,
                attachment.since,
            )
    for claim in saved.claims:
        if claim.phase in FIXED_PHASES and claim.address is not None and claim.eni is not None:
            put(claim.address, claim.eni, AddressState.BOUND_FIXED, claim.since)
    for claim in saved.claims:
        candidate = claim.candidate
        if claim.phase not in FIXED_PHASES and candidate is not None:
            put(candidate.address, candidate.eni, AddressState.PROMISED, claim.since)
        elif claim.phase not in FIXED_PHASES and claim.nominated is not None:
            held = found.get(claim.nominated)
            if held is not None and held.state is AddressState.STOCK:
                put(held.address, held.eni, AddressState.PROMISED, claim.since)
    return list(found.values())


def _without_closed(saved: Saved, book: Book) -> Saved:
    """Without attachments whose deletion was cut off after their address began to cool."""
    since = {each.holding.address: each.holding.since for each in saved.cooling}
    open_ones = []
    for attachment in saved.attachments:
        cooled_at = since.get(attachment.address)
        if attachment.generation is None and cooled_at and cooled_at >= attachment.since:
            book.remove_attachment(attachment.key)
        else:
            open_ones.append(attachment)
    return replace(saved, attachments=tuple(open_ones))


def _claims_of_attachments(saved: Saved) -> list[Claim]:
    """Of pods that have a lease's address while no claim says so: the state folder was lost."""
    known = {claim.key for claim in saved.claims}
    taken = {claim.address for claim in saved.claims}
    return [
        claim_of(attachment)
        for attachment in saved.attachments
        if attachment.generation is not None
        and attachment.key not in known
        and attachment.address not in taken  # else its pod's next sandbox has the lease
        and attachment.pod is not None
        and attachment.pod_uid is not None
    ]


def claim_of(attachment: Attachment) -> Claim:
    """Of a pod that has a lease's address: what is known of its claim without its page."""
    assert attachment.pod is not None, "a lease is a pod's"
    assert attachment.pod_uid is not None, "a lease is a pod's"
    pod = attachment.pod
    return Claim(
        key=attachment.key,
        identity=attachment.identity
        or Identity(pod.namespace, pod.name, attachment.key.network),
        pod_uid=attachment.pod_uid,
        expires_after=None,
        phase=ClaimPhase.BOUND,
        candidate=None,
        mode=attachment.mode,
        address=attachment.address,
        eni=attachment.eni,
        generation=attachment.generation,
        since=attachment.since,
    )


def _cooling_anew(saved: Saved, now: datetime) -> list[Cooling]:
    """An address whose page of rest is damaged rests its whole time once more."""
    owned = dict(saved.node.owned)
    found = []
    for page in saved.damaged:
        address = _address(page.name) if page.kind is PageKind.COOLING else None
        if address is not None and address in owned:
            found.append(
                Cooling(
                    holding=Holding(
                        address=address,
                        eni=owned[address],
                        state=AddressState.COOLING,
                        since=now,
                    ),
                    user=User(pod=None, pod_uid=None, network=""),
                )
            )
    return found


def _lacks_a_claim(saved: Saved) -> bool:
    """Whether a claim is gone that nothing else tells of: its candidate may be any address."""
    known = {claim.key.digest for claim in saved.claims}
    return any(page.kind is PageKind.CLAIM and page.name not in known for page in saved.damaged)


def _in_use(saved: Saved) -> set[IPv4Address]:
    """What a pod has, or had a moment ago, or is asked for: that is known whatever is lost."""
    used = {each.address for each in saved.attachments}
    used |= {each.holding.address for each in saved.cooling}
    for claim in saved.claims:
        used |= {each for each in (claim.address, claim.nominated) if each is not None}
        if claim.candidate is not None:
            used.add(claim.candidate.address)
    return used


def _address(name: str) -> IPv4Address | None:
    try:
        return IPv4Address(name)
    except AddressValueError:
        return None
