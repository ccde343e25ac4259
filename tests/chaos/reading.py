"""Reads the three books of a world: what the cloud has, the store says, the agents own."""

from __future__ import annotations

from typing import Any, Final

from services.eni_manager.adapters.redis_enis import RedisEniStore
from services.eni_manager.domain.records import Hold, NodeImage
from shared.clock import SystemClock
from shared.ids import Identity
from shared.store.keys import lease_key
from shared.store.lease_records import LeaseRecord
from tests.chaos.books import AgentAttachment, AgentHolding, Books, CloudAddress, StoredLease
from tests.chaos.world import CLUSTER, World

_TAG: Final = "berth-cluster"


async def read_books(world: World) -> Books:
    """Raises OSError or RedisError while the store is away."""
    status, state = await world.cloud.admin("GET", "state")
    assert status == 200, state
    images = await _images(world)
    up = [node for node in world.up() if node.is_up]
    return Books(
        cloud=_cloud(state),
        reserved=_reserved(state),
        leases=await _leases(world),
        holdings=tuple(
            (
                str(each.address),
                AgentHolding(node=node.name, eni=each.eni, state=each.state.value),
            )
            for node in up
            for each in sorted(node.agent.ledger.stock, key=lambda held: held.address)
        ),
        attachments=tuple(
            AgentAttachment(
                node=node.name, sandbox=each.key.container_id, address=str(each.address)
            )
            for node in up
            for each in sorted(node.agent.ledger.attachments, key=lambda each: each.key)
        ),
        held={
            str(each.address): f"{each.hold.value}: {each.reason}"
            for image in images
            for each in image.addresses.values()
            if each.hold is not Hold.GIVEN
        },
        unfinished=tuple(
            f"{image.node.node}: {intent.kind.value} {intent.intent} is not finished"
            for image in images
            for intent in image.intents.values()
        ),
        wires=tuple([wrong for node in up for wrong in await node.wrong_wires()]),
        broken_rules=tuple(map(str, _listed(state["broken_rules"]))),
        nodes=frozenset(node.name for node in up),
    )


def _listed(value: object) -> list[Any]:
    assert isinstance(value, list), value
    return value


def _cloud(state: dict[str, object]) -> dict[str, CloudAddress]:
    node_of = {each["id"]: each["node"] for each in _listed(state["instances"])}
    return {
        address: CloudAddress(eni=eni["id"], node=node_of.get(eni["instance"]))
        for eni in _listed(state["enis"])
        if eni["tags"].get(_TAG) == CLUSTER
        for address, each in sorted(eni["addresses"].items())
        if not each["primary"]
    }


def _reserved(state: dict[str, object]) -> frozenset[str]:
    return frozenset(
        address
        for subnet in _listed(state["subnets"])
        for address in subnet["reserved_addresses"]
    )


async def _images(world: World) -> list[NodeImage]:
    store = RedisEniStore(world.redis, cluster=CLUSTER, owner="reader", clock=SystemClock())
    return [await store.load(node) for node in await store.load_nodes()]


async def _leases(world: World) -> tuple[StoredLease, ...]:
    found: dict[bytes, bytes] = await world.redis.hgetall(lease_key(CLUSTER, "fixed"))  # type: ignore[assignment] # redis-py types both its clients at once
    leases = []
    for token, body in sorted(found.items()):
        identity, record = Identity.from_token(token.decode()), LeaseRecord.read(body)
        leases.append(
            StoredLease(
                identity=f"{identity.namespace}/{identity.name}",
                address=str(record.address),
                state=record.state.value,
                node=record.node,
                eni=record.eni,
                generation=record.generation,
            )
        )
    return tuple(leases)
