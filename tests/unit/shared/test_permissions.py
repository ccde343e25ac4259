"""Who may speak, before any server: no endpoint without callers, no agent beside its node."""

from __future__ import annotations

import pytest

from shared.bus.permissions import CALLERS, bus_permissions
from shared.bus.roles import Role, client_name
from shared.ids import ClusterName, NodeName
from shared.messages.base import Endpoint, ServiceName
from shared.messages.clusters import SUBNET_LIST
from shared.messages.subjects import ENDPOINTS, journal_root, journal_stream
from shared.store.permissions import StoreUser, acl_lines

CLUSTER = ClusterName("default")
NODE = NodeName("node-1")


def matches(pattern: str, subject: str) -> bool:
    """Whether a subject (or a narrower pattern) lies within a pattern of the bus."""
    wanted, given = pattern.split(" ")[0].split("."), subject.split(".")
    for place, token in enumerate(wanted):
        if token == ">":
            return len(given) > place
        if place >= len(given) or token not in ("*", given[place]):
            return False
    return len(given) == len(wanted)


def may_publish(role: Role, subject: str) -> bool:
    node = NODE if role is Role.NODE_AGENT else None
    return any(matches(each, subject) for each in bus_permissions(role, CLUSTER, node).publish)


def subject_of(endpoint: Endpoint[object, object]) -> str:  # type: ignore[type-var] # any of them
    return endpoint.subject(CLUSTER, NODE if "<node>" in endpoint.name else None)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: str(endpoint.name))
def test_every_endpoint_has_callers_and_no_others(
    endpoint: Endpoint[object, object],  # type: ignore[type-var] # any of them
) -> None:
    callers = {role for role in Role if may_publish(role, subject_of(endpoint))}

    assert callers == set(CALLERS[endpoint.name])
    assert callers, "an endpoint that nobody may call is of no use"


@pytest.mark.parametrize("role", Role)
def test_the_journal_is_the_allocators_alone(role: Role) -> None:
    may_write = may_publish(role, f"{journal_root(CLUSTER)}.epoch")
    may_read = may_publish(role, f"$JS.API.STREAM.MSG.GET.{journal_stream(CLUSTER)}")

    assert may_write == may_read == (role is Role.ALLOCATOR)


@pytest.mark.parametrize("other", ["node-2", "node-10", "node-1.a", "node", "*", ">"])
def test_an_agent_is_never_another_node(other: str) -> None:
    mine = bus_permissions(Role.NODE_AGENT, CLUSTER, NODE)
    theirs = bus_permissions(Role.NODE_AGENT, CLUSTER, NodeName(other))

    assert not set(mine.publish) & set(theirs.publish)
    assert not set(mine.subscribe) & set(theirs.subscribe)
    assert all("*" not in each for each in (*theirs.publish, *theirs.subscribe))


@pytest.mark.parametrize("role", [Role.ALLOCATOR, Role.ENI_MANAGER])
def test_a_service_serves_its_endpoints_in_its_queue_group_only(role: Role) -> None:
    server = ServiceName(role.value)
    served = {each for each in bus_permissions(role, CLUSTER).subscribe if "berth.v1." in each}

    assert served == {f"{e.pattern(CLUSTER)} {server}" for e in ENDPOINTS if e.server is server}


def test_inboxes_are_apart() -> None:
    names = [client_name(role) for role in Role if role is not Role.NODE_AGENT]
    names += [client_name(Role.NODE_AGENT, NODE)]

    assert len(set(names)) == len(Role)


def test_passwords_are_not_written_into_the_stores_rules() -> None:
    lines = acl_lines(
        CLUSTER, {StoreUser.ALLOCATOR: "hunter2", StoreUser.ENI_MANAGER: "swordfish"}
    )

    assert lines[0].startswith("user default off")
    assert not any("hunter2" in line or "swordfish" in line for line in lines)
    assert all(" -@all " in line for line in lines[1:])


def test_an_allocator_may_ask_which_zone_a_subnet_is_in() -> None:
    may = bus_permissions(Role.ALLOCATOR, CLUSTER)

    assert SUBNET_LIST.pattern(CLUSTER) in may.publish
