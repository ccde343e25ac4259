"""What the history and the books must not show (pure). Each promise has its checker.

A hold begins when its ADD was answered and ends when its DEL was *asked*: between those moments
nobody can excuse a second holder by timing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from tests.chaos.books import Books
from tests.chaos.history import ANSWER_SLACK_S, BUG, History, Operation, Outcome, Verb

_EXPIRY_SLACK_S = 0.5  # the store's clock tells whole milliseconds; agents tell of a DEL later
_OF_A_LEASE = frozenset({"bound_fixed"})
_OPERATIONS_MIN = 10
STARTS_MIN = 10  # ADDs that must succeed once all is healed


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    checker: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One sandbox's right to one address."""

    address: str
    add: Operation
    begins_s: float
    ends_s: float


def holds(history: History) -> list[Hold]:
    """One for each sandbox that was given an address, in the order in which they began."""
    ends: dict[str, float] = {}
    node_ends: dict[str, list[float]] = defaultdict(list)
    for each in history.operations:
        if each.verb is Verb.DEL:
            ends[each.sandbox] = min(ends.get(each.sandbox, inf), each.began_s)
        elif each.verb is Verb.END:
            node_ends[each.node].append(each.began_s)
    found: dict[tuple[str, str], Hold] = {}
    for each in _given(history):
        assert each.address is not None, "an ADD that succeeded names the address"
        died = min((at for at in node_ends[each.node] if at >= each.began_s), default=inf)
        key = (each.sandbox, each.address)
        known = found.get(key)
        begins_s = each.ended_s if known is None else min(known.begins_s, each.ended_s)
        found[key] = Hold(
            address=each.address,
            add=each,
            begins_s=begins_s,
            ends_s=min(died, ends.get(each.sandbox, inf)),
        )
    return sorted(found.values(), key=lambda each: each.begins_s)


def _given(history: History) -> Iterator[Operation]:
    for each in sorted(history.operations, key=lambda each: each.ended_s):
        if each.verb is Verb.ADD and each.outcome is Outcome.OK:
            yield each


def _fixed(history: History) -> dict[str, list[Operation]]:
    """The ADDs of each identity that succeeded, in the order of their answers."""
    found: dict[str, list[Operation]] = defaultdict(list)
    for each in _given(history):
        if each.is_fixed:
            found[each.pod].append(each)
    return found


def double_holders(history: History) -> list[Violation]:
    """P1: no two sandboxes have one address at the same time."""
    found = []
    longest: dict[str, Hold] = {}
    for hold in holds(history):
        if hold.ends_s <= hold.begins_s:  # deleted before it was answered
            continue
        before = longest.get(hold.address)
        if before is not None and before.ends_s > hold.begins_s:
            found.append(
                Violation(
                    checker="P1 one holder",
                    detail=f"{hold.address}: {_who(hold.add)} from {hold.begins_s:.3f} s while"
                    f" {_who(before.add)} had it until {before.ends_s:.3f} s",
                )
            )
        if before is None or hold.ends_s > before.ends_s:
            longest[hold.address] = hold
    return found


def _who(add: Operation) -> str:
    return f"{add.pod or add.sandbox} on {add.node}"


def wandering_identities(history: History) -> list[Violation]:
    """P2: an identity has the same address until its lease was released or has expired."""
    found = []
    for pod, adds in _fixed(history).items():
        for one, other in pairwise(adds):
            if one.address != other.address and not _may_have_ended(history, one, other):
                found.append(
                    Violation(
                        checker="P2 fixed is fixed",
                        detail=f"{pod}: {one.address} on {one.node}, then {other.address} on"
                        f" {other.node}, and nobody released it",
                    )
                )
    return found


def _may_have_ended(history: History, one: Operation, other: Operation) -> bool:
    """Between these ADDs of one identity its lease was released, or its span was over."""
    for each in history.operations:
        released = each.verb is Verb.RELEASE and each.outcome is not Outcome.FAIL
        if (
            released
            and each.pod == one.pod
            and (each.began_s <= other.ended_s and each.ended_s >= one.began_s)
        ):
            return True
    return _may_have_expired(history, one, until_s=other.ended_s)


def _may_have_expired(history: History, add: Operation, *, until_s: float) -> bool:
    if add.expires_after_s is None:
        return False
    went_s = min(
        (hold.ends_s for hold in holds(history) if hold.add.sandbox == add.sandbox),
        default=inf,
    )
    return until_s - went_s >= add.expires_after_s - _EXPIRY_SLACK_S


def lost_leases(history: History, books: Books, *, now_s: float) -> list[Violation]:
    """P4: what was acknowledged last is in the store, with that address."""
    leases = {each.identity: each for each in books.leases}
    found = []
    for pod, adds in _fixed(history).items():
        last = adds[-1]
        if _was_released_after(history, last) or _may_have_expired(
            history, last, until_s=now_s
        ):
            continue
        lease = leases.get(pod)
        if lease is None or lease.address != last.address:
            has = "no lease" if lease is None else lease.address
            found.append(
                Violation(
                    checker="P4 acknowledged is durable",
                    detail=f"{pod} was answered {last.address}; the store has {has}",
                )
            )
    return found


def _was_released_after(history: History, add: Operation) -> bool:
    return any(
        each.verb is Verb.RELEASE
        and each.pod == add.pod
        and each.outcome is not Outcome.FAIL
        and each.ended_s >= add.began_s
        for each in history.operations
    )


def unrisen_generations(history: History) -> list[Violation]:
    """The fence rises with every bind, of an identity and of an address."""
    by_address: dict[str, list[Operation]] = defaultdict(list)
    for adds in _fixed(history).values():
        for each in adds:
            by_address[each.address or ""].append(each)
    rows = [*_fixed(history).items(), *by_address.items()]
    found = []
    for name, adds in rows:
        for one, other in pairwise(sorted(adds, key=lambda each: each.ended_s)):
            if one.sandbox == other.sandbox or one.ended_s > other.began_s:
                continue
            if (other.generation or 0) <= (one.generation or 0):  # none is no fence at all
                found.append(_unrisen(name, one, other))
    return list(dict.fromkeys(found))


def _unrisen(name: str, one: Operation, other: Operation) -> Violation:
    return Violation(
        checker="generations rise",
        detail=f"{name}: {one.generation} for {_who(one)}, then {other.generation} for"
        f" {_who(other)}",
    )


def late_answers(history: History) -> list[Violation]:
    """P7: whoever asks is answered within its deadline, with whatever answer."""
    return [
        Violation(
            checker="answered in time",
            detail=f"{each.verb} of {_who(each)}: {each.ended_s - each.began_s:.1f} s of"
            f" {each.limit_s:.1f} s, {'late' if each.is_answered else 'no answer'}",
        )
        for each in history.operations
        if not each.is_answered or each.ended_s - each.began_s > each.limit_s + ANSWER_SLACK_S
    ]


def bugs(history: History) -> list[Violation]:
    """Nothing ends in an exception that nobody expected."""
    return [
        Violation(checker="no bugs", detail=f"{each.verb} of {_who(each)}: {each.error}")
        for each in history.operations
        if (each.error or "").startswith(BUG)
    ]


def unowned_addresses(books: Books) -> list[Violation]:
    """P3: each address at the cloud has one owner, and no book has another address."""
    owners: dict[str, list[str]] = defaultdict(list)
    for address, holding in books.holdings:
        if holding.state not in _OF_A_LEASE:
            owners[address].append(f"agent of {holding.node} ({holding.state})")
    for lease in books.leases:
        owners[lease.address].append(f"lease of {lease.identity} ({lease.state})")
    for address, reason in books.held.items():
        owners[address].append(f"eni_manager ({reason})")
    at_cloud = {*books.cloud, *books.reserved}
    found = [
        Violation(
            checker="P3 no leak",
            detail=f"{address} has {len(owners[address])} owners: {owners[address]}",
        )
        for address in sorted(at_cloud)
        if len(owners[address]) != 1
    ]
    found += [
        Violation(checker="P3 no leak", detail=f"{address} of {who} is not at the cloud")
        for address, who in sorted(owners.items())
        if who and address not in at_cloud
    ]
    found += [Violation(checker="P3 no leak", detail=each) for each in books.broken_rules]
    return found


def misplaced_addresses(books: Books) -> list[Violation]:
    """P3: what a book says of an address' place is where the cloud has it."""
    told = [
        (address, holding.node, holding.eni, f"agent of {holding.node}")
        for address, holding in books.holdings
    ]
    told += [
        (lease.address, lease.node, lease.eni or "", f"lease of {lease.identity}")
        for lease in books.leases
        if lease.node is not None and lease.state in ("bound_fixed", "retained")
    ]
    found = []
    for address, node, eni, who in told:
        place = books.cloud.get(address)
        if place is not None and (place.node, place.eni) != (node, eni):
            found.append(
                Violation(
                    checker="P3 books agree",
                    detail=f"{address}: {who} says {eni} of {node}, the cloud {place.eni} of"
                    f" {place.node}",
                )
            )
    return found


def unfinished_work(books: Books) -> list[Violation]:
    """P3: nothing is under way for ever, and every wire is whole."""
    return [
        Violation(checker="P3 books agree", detail=each)
        for each in (*books.unfinished, *books.wires)
    ]


def lost_pods(history: History, books: Books) -> list[Violation]:
    """What runs by the history runs by its agent's book, with that address; and nothing else
    does. A bound lease is one of a pod that runs."""
    running = {
        (hold.add.sandbox, hold.address, hold.add.node)
        for hold in holds(history)
        if hold.ends_s == inf and hold.add.node in books.nodes
    }
    booked = {(each.sandbox, each.address, each.node) for each in books.attachments}
    found = [
        Violation(checker="pods are kept", detail=f"{address} of {sandbox} on {node}: {what}")
        for only, what in (
            (running - booked, "runs, and its agent has it not"),
            (booked - running, "its agent has it, and it does not run"),
        )
        for sandbox, address, node in sorted(only)
    ]
    used = {(address, node) for _, address, node in running}
    found += [
        Violation(
            checker="pods are kept",
            detail=f"the lease of {each.identity} is bound to {each.address} on {each.node},"
            " where no pod has it",
        )
        for each in books.leases
        if each.state == "bound_fixed" and (each.address, each.node) not in used
    ]
    return found


def unrest(earlier: Books, later: Books) -> list[Violation]:
    """Nothing is repaired for ever: once all is quiet, two looks show the same."""
    if earlier == later:
        return []
    names = ("cloud", "reserved", "leases", "holdings", "attachments", "held", "unfinished")
    moved = [name for name in names if getattr(earlier, name) != getattr(later, name)]
    return [Violation(checker="comes to rest", detail=f"still changing: {', '.join(moved)}")]


def standstill(history: History, *, healed_s: float) -> list[Violation]:
    """Once all is healed, pods start again: what is only deleted does not count."""
    started = len(history.started(since_s=healed_s))
    if started >= STARTS_MIN:
        return []
    detail = f"only {started} ADDs asked for since all was healed succeeded, of {STARTS_MIN}"
    return [Violation(checker="starts again", detail=detail)]


def proved_nothing(history: History) -> list[Violation]:
    """A run in which no fault bit, or too little happened, is no pass."""
    found = []
    if not history.faults:
        found.append("nothing was broken")
    elif not history.bites():
        found.append(f"none of {len(history.faults)} faults touched anything")
    elif history.next_answer_s() == inf:
        found.append("no ADD that was asked for after the last fault succeeded")
    done = history.count(Outcome.OK)
    if done < _OPERATIONS_MIN:
        found.append(f"only {done} operations succeeded")
    return [Violation(checker="proved nothing", detail=each) for each in found]


def of_books(history: History, books: Books, *, now_s: float) -> list[Violation]:
    """Everything that must be so once all is healed and quiet."""
    return [
        *unowned_addresses(books),
        *misplaced_addresses(books),
        *unfinished_work(books),
        *lost_pods(history, books),
        *lost_leases(history, books, now_s=now_s),
    ]


def of_history(history: History) -> list[Violation]:
    """Everything that must be so at any moment."""
    return [
        *double_holders(history),
        *wandering_identities(history),
        *unrisen_generations(history),
        *late_answers(history),
        *bugs(history),
    ]


def worst(violations: Iterable[Violation], most: int = 5) -> str:
    """A few of them for people."""
    found = list(violations)
    lines = [f"{each.checker}: {each.detail}" for each in found[:most]]
    if len(found) > most:
        lines.append(f"… and {len(found) - most} more")
    return "\n".join(lines)
