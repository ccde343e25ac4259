"""Who may speak, as a real nats-server enforces it."""

from __future__ import annotations

from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg, StreamConfig

from berth.playground.keys import KeyRing
from shared.bus.connection import connect_bus, inbox_prefix
from shared.bus.roles import Role, client_name
from shared.errors import Refused
from shared.ids import NodeName
from shared.messages.events import EVENT_STREAM
from shared.messages.leases import LEASE_ACQUIRE, LEASE_FORGET, LEASE_LIST
from shared.messages.moves import ADDRESS_MOVE
from shared.messages.nodes import (
    AGENT_INVENTORY,
    NODE_REGISTER,
    NODE_WANT,
    STOCK_OFFER,
    STOCK_RECALL,
)
from shared.messages.subjects import journal_epoch_subject, journal_stream
from shared.settings import ServiceSettings
from tests.support.bus_order import reached
from tests.support.speakers import CLUSTER, NODE_1, NODE_2, GuardedBus, Speaker

JOURNAL = journal_stream(CLUSTER)
ROOT = f"berth.v1.{CLUSTER}"

PUBLISH_REFUSED = [
    pytest.param(
        Role.NODE_AGENT, LEASE_ACQUIRE.subject(CLUSTER, NODE_2), id="for-another-node"
    ),
    pytest.param(Role.NODE_AGENT, NODE_REGISTER.subject(CLUSTER, NODE_2), id="as-another-node"),
    pytest.param(Role.NODE_AGENT, ADDRESS_MOVE.subject(CLUSTER), id="agent-moves"),
    pytest.param(Role.NODE_AGENT, STOCK_OFFER.subject(CLUSTER, NODE_2), id="agent-offers"),
    pytest.param(Role.NODE_AGENT, STOCK_RECALL.subject(CLUSTER, NODE_1), id="agent-recalls"),
    pytest.param(Role.NODE_AGENT, LEASE_LIST.subject(CLUSTER), id="agent-lists-leases"),
    pytest.param(Role.NODE_AGENT, journal_epoch_subject(CLUSTER), id="agent-journals"),
    pytest.param(
        Role.NODE_AGENT, f"$JS.API.STREAM.MSG.GET.{JOURNAL}", id="agent-reads-journal"
    ),
    pytest.param(Role.NODE_AGENT, f"$JS.API.DIRECT.GET.{JOURNAL}", id="agent-reads-directly"),
    pytest.param(
        Role.NODE_AGENT, f"$JS.API.CONSUMER.CREATE.{JOURNAL}", id="agent-consumes-journal"
    ),
    pytest.param(Role.NODE_AGENT, f"{ROOT}.event.lease.bound", id="agent-invents-event"),
    pytest.param(Role.ENI_MANAGER, journal_epoch_subject(CLUSTER), id="manager-journals"),
    pytest.param(
        Role.ENI_MANAGER, f"$JS.API.STREAM.MSG.GET.{JOURNAL}", id="manager-reads-journal"
    ),
    pytest.param(Role.ENI_MANAGER, f"$JS.API.STREAM.DELETE.{JOURNAL}", id="manager-deletes"),
    pytest.param(Role.ENI_MANAGER, f"$JS.API.STREAM.PURGE.{JOURNAL}", id="manager-purges"),
    pytest.param(
        Role.ENI_MANAGER, LEASE_ACQUIRE.subject(CLUSTER, NODE_1), id="manager-acquires"
    ),
    pytest.param(Role.ENI_MANAGER, f"{ROOT}.event.lease.bound", id="manager-tells-of-leases"),
    pytest.param(Role.ALLOCATOR, STOCK_OFFER.subject(CLUSTER, NODE_1), id="allocator-offers"),
    pytest.param(Role.ALLOCATOR, STOCK_RECALL.subject(CLUSTER, NODE_1), id="allocator-recalls"),
    pytest.param(Role.ALLOCATOR, NODE_WANT.subject(CLUSTER, NODE_1), id="allocator-wants"),
    pytest.param(Role.ALLOCATOR, f"{ROOT}.event.eni.created", id="allocator-tells-of-enis"),
    pytest.param(Role.ALLOCATOR, f"$JS.API.STREAM.DELETE.{JOURNAL}", id="allocator-deletes"),
    pytest.param(Role.OPERATOR, ADDRESS_MOVE.subject(CLUSTER), id="operator-moves"),
    pytest.param(Role.OBSERVER, LEASE_FORGET.subject(CLUSTER), id="observer-ends-a-lease"),
    pytest.param(Role.OBSERVER, f"{ROOT}.event.lease.bound", id="observer-invents-event"),
    pytest.param(Role.OBSERVER, f"$JS.API.STREAM.MSG.GET.{JOURNAL}", id="observer-journal"),
    pytest.param(Role.OBSERVER, f"$JS.API.STREAM.DELETE.{EVENT_STREAM}", id="observer-deletes"),
    pytest.param(
        Role.OBSERVER,
        f"$JS.API.CONSUMER.MSG.NEXT.{EVENT_STREAM}.another",
        id="observer-takes-anothers-events",
    ),
    pytest.param(
        Role.OBSERVER,
        f"$JS.API.CONSUMER.CREATE.{EVENT_STREAM}.observer.berth.v1.other.event.>",
        id="observer-hears-another-cluster",
    ),
    pytest.param(Role.OPERATOR, STOCK_RECALL.subject(CLUSTER, NODE_1), id="operator-recalls"),
    pytest.param(Role.OPERATOR, f"$JS.API.STREAM.MSG.GET.{JOURNAL}", id="operator-journal"),
]

SUBSCRIBE_REFUSED = [
    pytest.param(Role.NODE_AGENT, ">", id="agent-everything"),
    pytest.param(Role.NODE_AGENT, f"{ROOT}.journal.>", id="agent-journal"),
    pytest.param(Role.NODE_AGENT, f"{ROOT}.agent.*.stock.offer", id="agent-others-offers"),
    pytest.param(Role.NODE_AGENT, AGENT_INVENTORY.subject(CLUSTER, NODE_2), id="agent-other"),
    pytest.param(Role.NODE_AGENT, LEASE_ACQUIRE.pattern(CLUSTER), id="agent-serves-leases"),
    pytest.param(
        Role.NODE_AGENT, f"{inbox_prefix('allocator')}.>", id="agent-replies-of-others"
    ),
    pytest.param(Role.NODE_AGENT, "_INBOX.>", id="agent-common-inbox"),
    pytest.param(Role.ENI_MANAGER, LEASE_ACQUIRE.pattern(CLUSTER), id="manager-serves-leases"),
    pytest.param(Role.ENI_MANAGER, f"{ROOT}.journal.>", id="manager-journal"),
    pytest.param(Role.ENI_MANAGER, f"{inbox_prefix('allocator')}.>", id="manager-replies"),
    pytest.param(Role.ALLOCATOR, ADDRESS_MOVE.pattern(CLUSTER), id="allocator-serves-moves"),
    pytest.param(Role.ALLOCATOR, NODE_WANT.pattern(CLUSTER), id="allocator-hears-wants"),
    pytest.param(Role.ALLOCATOR, LEASE_ACQUIRE.pattern(CLUSTER), id="outside-its-queue-group"),
    pytest.param(Role.OPERATOR, f"{ROOT}.>", id="operator-everything"),
    pytest.param(Role.OBSERVER, f"{ROOT}.>", id="observer-everything"),
    pytest.param(Role.OBSERVER, f"{ROOT}.event.>", id="observer-past-the-stream"),
]


def _node(role: Role) -> NodeName | None:
    return NODE_1 if role is Role.NODE_AGENT else None


@pytest.mark.parametrize(("role", "subject"), PUBLISH_REFUSED)
async def test_a_key_cannot_say_what_is_not_its_role(
    guarded_bus: GuardedBus, role: Role, subject: str
) -> None:
    async with guarded_bus.speak(role, _node(role)) as speaker:
        await speaker.client.publish(subject, b"{}")

        assert f'permissions violation for publish to "{subject}"' in (
            await speaker.refusal()
        ).lower().replace(subject.lower(), subject)


@pytest.mark.parametrize(("role", "subject"), SUBSCRIBE_REFUSED)
async def test_a_key_cannot_hear_what_is_not_for_it(
    guarded_bus: GuardedBus, role: Role, subject: str
) -> None:
    async with guarded_bus.speak(role, _node(role)) as speaker:
        await speaker.client.subscribe(subject)

        assert "permissions violation for subscription" in (await speaker.refusal()).lower()


async def test_an_agents_request_is_answered_in_its_own_name_only(
    guarded_bus: GuardedBus,
) -> None:
    async with (
        guarded_bus.speak(Role.ALLOCATOR) as allocator,
        guarded_bus.speak(Role.NODE_AGENT, NODE_1) as agent,
    ):
        heard = await _serve(allocator, LEASE_ACQUIRE.pattern(CLUSTER), "allocator")
        await agent.client.publish(LEASE_ACQUIRE.subject(CLUSTER, NODE_2), b"forged")

        answer = await agent.client.request(
            LEASE_ACQUIRE.subject(CLUSTER, NODE_1), b"mine", timeout=5
        )

        assert answer.data == b"answer to mine"
        assert heard == [b"mine"]


async def test_every_service_reaches_who_it_may_call(guarded_bus: GuardedBus) -> None:
    async with (
        guarded_bus.speak(Role.ALLOCATOR) as allocator,
        guarded_bus.speak(Role.ENI_MANAGER) as manager,
        guarded_bus.speak(Role.NODE_AGENT, NODE_2) as agent,
        guarded_bus.speak(Role.OPERATOR) as operator,
    ):
        await _serve(allocator, LEASE_LIST.pattern(CLUSTER), "allocator")
        await _serve(manager, ADDRESS_MOVE.pattern(CLUSTER), "eni_manager")
        await _serve(manager, NODE_WANT.pattern(CLUSTER), "eni_manager")
        await _serve(agent, f"{ROOT}.agent.10%2E0%2E0%2E2.>", "")

        answers = [
            await caller.client.request(subject, b"x", timeout=5)
            for caller, subject in (
                (allocator, ADDRESS_MOVE.subject(CLUSTER)),
                (allocator, AGENT_INVENTORY.subject(CLUSTER, NODE_2)),
                (manager, STOCK_OFFER.subject(CLUSTER, NODE_2)),
                (manager, STOCK_RECALL.subject(CLUSTER, NODE_2)),
                (agent, NODE_WANT.subject(CLUSTER, NODE_2)),
                (operator, LEASE_LIST.subject(CLUSTER)),
                (operator, AGENT_INVENTORY.subject(CLUSTER, NODE_2)),
            )
        ]

        assert [answer.data for answer in answers] == [b"answer to x"] * 7
        assert not await allocator.is_refused()
        assert not await manager.is_refused()
        assert not await agent.is_refused()


async def test_an_answer_may_be_given_once_and_to_nobody_else(guarded_bus: GuardedBus) -> None:
    async with (
        guarded_bus.speak(Role.OPERATOR) as operator,
        guarded_bus.speak(Role.NODE_AGENT, NODE_1) as agent,
    ):
        requests: list[Msg] = []

        async def keep(message: Msg) -> None:
            requests.append(message)
            await message.respond(b"first")

        await agent.client.subscribe(AGENT_INVENTORY.subject(CLUSTER, NODE_1), cb=keep)
        await reached(agent.client)
        await operator.client.request(AGENT_INVENTORY.subject(CLUSTER, NODE_1), b"x", timeout=5)
        assert not await agent.is_refused()

        await requests[0].respond(b"second")

        assert "permissions violation" in (await agent.refusal()).lower()


async def test_the_allocator_keeps_its_journal(guarded_bus: GuardedBus) -> None:
    async with guarded_bus.speak(Role.ALLOCATOR) as allocator:
        stream = allocator.client.jetstream(timeout=5)
        await stream.add_stream(
            StreamConfig(name=JOURNAL, subjects=[f"{ROOT}.journal.>"], allow_direct=True)
        )
        await stream.publish(journal_epoch_subject(CLUSTER), b"epoch 1")

        record: RawStreamMsg = await stream.get_msg(
            JOURNAL, subject=journal_epoch_subject(CLUSTER), direct=True
        )

        assert record.data == b"epoch 1"
        assert not await allocator.is_refused()


async def test_the_eni_manager_tells_events(guarded_bus: GuardedBus) -> None:
    async with guarded_bus.speak(Role.ENI_MANAGER) as manager:
        stream = manager.client.jetstream(timeout=5)
        await stream.add_stream(
            StreamConfig(name=EVENT_STREAM, subjects=["berth.v1.*.event.>"])
        )

        stored = await stream.publish(f"{ROOT}.event.eni.attached", b"{}")

        assert stored.seq == 1
        assert not await manager.is_refused()


async def test_a_client_without_a_key_gets_nowhere(guarded_bus: GuardedBus) -> None:
    settings = ServiceSettings(nats_url=guarded_bus.url)

    with pytest.raises(Refused, match="the bus refuses this key"):
        await connect_bus(settings, client_name=client_name(Role.ALLOCATOR))


async def test_a_strangers_key_gets_nowhere(guarded_bus: GuardedBus, tmp_path: Path) -> None:
    stranger = KeyRing(tmp_path / "stranger").bus_key("stranger", Role.ALLOCATOR)
    settings = ServiceSettings(nats_url=guarded_bus.url, nats_key_file=stranger.seed_file)

    with pytest.raises(Refused, match="the bus refuses this key"):
        await connect_bus(settings, client_name=client_name(Role.ALLOCATOR))


async def test_a_key_file_opens_the_bus(guarded_bus: GuardedBus) -> None:
    seed_file = guarded_bus.keys["operator"].seed_file
    settings = ServiceSettings(nats_url=guarded_bus.url, nats_key_file=seed_file)

    client: Client = await connect_bus(settings, client_name=client_name(Role.OPERATOR))

    assert client.is_connected
    await client.close()


async def _serve(speaker: Speaker, subject: str, queue: str) -> list[bytes]:
    heard: list[bytes] = []

    async def answer(message: Msg) -> None:
        heard.append(message.data)
        await message.respond(b"answer to " + message.data)

    await speaker.client.subscribe(subject, queue=queue, cb=answer)
    await reached(speaker.client)
    return heard
