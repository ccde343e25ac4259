"""Books that agree have no finding; each way to disagree has its own."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Address

import pytest

from berth.doctor.findings import TO_DO, Books, Code, compare, lost_on, unused_on
from shared.addresses import AddressState as State
from shared.annotations import DeletePolicy
from shared.ids import UNKNOWN_NETWORK
from shared.messages.base import AttachmentFields, IdentityFields
from shared.messages.clusters import EniView, HeldBack, NodeView
from shared.messages.leases import LeaseView
from shared.messages.nodes import Inventory, InventoryEntry, OfferedAddress

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STOCK, IMMEDIATE, FIXED, RETAINED, LOOSE = (IPv4Address(f"10.0.3.{n}") for n in range(20, 25))


def node(
    name: str, eni: str, *addresses: IPv4Address, back: HeldBack | None = None
) -> NodeView:
    view = EniView(
        eni=eni,
        subnet="subnet-a",
        mac="20:90:6f:00:00:02",
        state="shared",
        primary_address=IPv4Address("10.0.3.10"),
        addresses=list(addresses),
        addresses_max=9,
        held_back=() if back is None else (back,),
    )
    primary = view.model_copy(update={"eni": "eni-0", "state": "primary", "addresses": []})
    return NodeView(
        node=name,
        instance=f"ins-{name}",
        zone="zone-1",
        enis=[primary, view],
        enis_max=3,
        problem=None,
        heard_at=NOW,
    )


def entry(address: IPv4Address, state: State, eni: str = "eni-1") -> InventoryEntry:
    return InventoryEntry(
        address=address,
        eni=eni,
        state=state,
        generation=7 if state is State.BOUND_FIXED else None,
        since=NOW,
        is_wired=True,
    )


def inventory(name: str, *entries: InventoryEntry) -> Inventory:
    return Inventory(
        node=name, instance=f"ins-{name}", incarnation=1, enis=[], addresses=list(entries)
    )


def lease(
    address: IPv4Address, state: State, node: str = "node-1", eni: str = "eni-1"
) -> LeaseView:
    is_fixed = state is not State.BOUND_IMMEDIATE
    return LeaseView(
        identity=IdentityFields(namespace="shop", name=f"pod-{address}", network="berth"),
        address=address,
        state=state,
        policy=DeletePolicy.NEVER if is_fixed else DeletePolicy.IMMEDIATE,
        node=node,
        eni=eni,
        generation=7 if is_fixed else None,
        since=NOW,
    )


ENTRIES = {
    STOCK: entry(STOCK, State.STOCK),
    IMMEDIATE: entry(IMMEDIATE, State.BOUND_IMMEDIATE),
    FIXED: entry(FIXED, State.BOUND_FIXED),
}
LEASES = {
    IMMEDIATE: lease(IMMEDIATE, State.BOUND_IMMEDIATE),
    FIXED: lease(FIXED, State.BOUND_FIXED),
    RETAINED: lease(RETAINED, State.RETAINED),
}
CLOUD = (STOCK, IMMEDIATE, FIXED, RETAINED)


def found(
    *,
    nodes: list[NodeView] | None = None,
    entries: dict[IPv4Address, InventoryEntry] | None = None,
    leases: dict[IPv4Address, LeaseView] | None = None,
    others: tuple[Inventory, ...] = (),
    hears: bool = True,
) -> list[tuple[Code, IPv4Address]]:
    known = ENTRIES if entries is None else entries
    books = Books(
        nodes=[node("node-1", "eni-1", *CLOUD)] if nodes is None else nodes,
        inventories=[*((inventory("node-1", *known.values()),) if hears else ()), *others],
        leases=list((LEASES if leases is None else leases).values()),
    )
    findings = compare(books)
    assert all(each.detail for each in findings)
    return [(each.code, each.address) for each in findings]


def test_books_that_agree_have_no_finding() -> None:
    assert found() == []


def test_what_is_parked_or_on_its_way_is_at_no_node_and_no_finding() -> None:
    parked = {LOOSE: lease(LOOSE, State.PARKED), STOCK: lease(LOOSE, State.MOVING)}

    assert found(leases=LEASES | parked) == []


def test_an_address_in_the_books_of_two_nodes_is_used_twice() -> None:
    other = inventory("node-2", entry(STOCK, State.STOCK))

    assert found(others=(other,)) == [
        (Code.NOT_AT_CLOUD, STOCK),
        (Code.USED_TWICE, STOCK),
    ]


def test_what_an_agent_has_must_be_at_the_cloud_on_the_same_eni() -> None:
    nodes = [node("node-1", "eni-1", *CLOUD[1:])]

    assert found(nodes=nodes) == [(Code.NOT_AT_CLOUD, STOCK)]
    assert found(entries=ENTRIES | {STOCK: entry(STOCK, State.STOCK, "eni-9")}) == [
        (Code.NOT_AT_CLOUD, STOCK)
    ]


def test_what_is_at_the_cloud_must_be_somebodys() -> None:
    nodes = [node("node-1", "eni-1", *CLOUD, LOOSE)]

    assert found(nodes=nodes) == [(Code.UNCLAIMED, LOOSE)]


@pytest.mark.parametrize(
    ("hold", "expected"), [("assigning", []), ("quarantined", [(Code.QUARANTINED, LOOSE)])]
)
def test_what_the_eni_manager_holds_back_is_its_own_and_told_when_in_doubt(
    hold: str, expected: list[tuple[Code, IPv4Address]]
) -> None:
    back = HeldBack(address=LOOSE, hold=hold, reason="found at the cloud, and in no book")

    assert found(nodes=[node("node-1", "eni-1", *CLOUD, LOOSE, back=back)]) == expected


def test_a_lease_must_be_where_its_address_is() -> None:
    moved = LEASES | {RETAINED: lease(RETAINED, State.RETAINED, "node-2", "eni-2")}

    assert found(leases=moved) == [(Code.LEASE_ELSEWHERE, RETAINED)]


def test_a_bound_lease_must_have_its_pod_and_a_bound_pod_its_lease() -> None:
    no_pod = {key: value for key, value in ENTRIES.items() if key != FIXED}
    no_lease = {key: value for key, value in LEASES.items() if key != FIXED}
    older = LEASES | {FIXED: LEASES[FIXED].model_copy(update={"generation": 6})}

    assert found(entries=no_pod) == [(Code.LEASE_UNUSED, FIXED)]
    assert found(leases=no_lease) == [(Code.BOUND_WITHOUT_LEASE, FIXED)]
    assert found(leases=older) == [(Code.BOUND_WITHOUT_LEASE, FIXED)]


def test_what_agents_use_must_be_reported_and_what_is_reported_used() -> None:
    silent = {key: value for key, value in LEASES.items() if key != IMMEDIATE}
    too_much = LEASES | {STOCK: lease(STOCK, State.BOUND_IMMEDIATE)}

    assert found(leases=silent) == [(Code.NOT_REPORTED, IMMEDIATE)]
    assert found(leases=too_much) == [(Code.NOT_REPORTED, STOCK)]


def test_a_wire_that_the_kernel_lacks_is_a_finding() -> None:
    cut = ENTRIES[IMMEDIATE].model_copy(update={"is_wired": False})

    assert found(entries=ENTRIES | {IMMEDIATE: cut}) == [(Code.NOT_WIRED, IMMEDIATE)]


def test_an_address_whose_pod_its_agent_cannot_name_is_found() -> None:
    holder = AttachmentFields(
        network=UNKNOWN_NETWORK, container_id="eni0123456789a", ifname="eth0"
    )
    lost = entry(IMMEDIATE, State.BOUND_IMMEDIATE).model_copy(update={"attachment": holder})

    assert found(entries=ENTRIES | {IMMEDIATE: lost}) == [(Code.HOLDER_UNKNOWN, IMMEDIATE)]


def test_what_an_agent_is_asked_to_mend_is_what_was_found_on_its_node() -> None:
    used = lease(LOOSE, State.BOUND_FIXED).model_copy(
        update={
            "attachment": AttachmentFields(network="berth", container_id="c1", ifname="eth0"),
            "pod_uid": "u1",
            "bound_generation": 6,
        }
    )
    books = Books(
        nodes=[node("node-1", "eni-1", FIXED, RETAINED, LOOSE), node("node-2", "eni-2")],
        inventories=[inventory("node-1", *ENTRIES.values())],
        leases=[*LEASES.values(), used],
    )
    findings = compare(books)

    assert {(it.code, it.address) for it in findings} == {
        (Code.NOT_AT_CLOUD, STOCK),
        (Code.NOT_AT_CLOUD, IMMEDIATE),
        (Code.LEASE_UNUSED, LOOSE),
    }
    assert lost_on("node-1", books, findings) == (OfferedAddress(address=STOCK, eni="eni-1"),)
    (unused,) = unused_on("node-1", books, findings)
    assert (unused.address, unused.generation, unused.pod_uid) == (LOOSE, 6, "u1")
    assert not lost_on("node-2", books, findings)
    assert not unused_on("node-2", books, findings)


def test_an_agent_that_is_away_accuses_nobody() -> None:
    assert found(hears=False) == []


def test_every_finding_says_what_to_do() -> None:
    assert set(TO_DO) == set(Code)
