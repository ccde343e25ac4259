"""What an expired lease leaves goes back to its node, once, whoever is killed in between.

Allocator, eni_manager, bus, store and cloud are real; only the nodes' agents stand in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from shared.addresses import AddressState
from shared.errors import Stale
from shared.messages.base import IdentityFields
from shared.messages.moves import ADDRESS_RECLAIM, Reclaimed, ReclaimRequest
from shared.store.keys import lease_key
from tests.support.allocator_beside import allocator, allocator_process
from tests.support.allocators import identity
from tests.support.eni_world import CLUSTER, EniWorld, eni_world, eventually
from tests.support.fixed_pods import FixedPods
from tests.support.servers import NatsServer, RedisServer
from tests.support.standin_agent import StandInAgent

KEPT_S = 0.3
REAPING: dict[str, object] = {
    "default_expires_after_s": KEPT_S,
    "reap_interval_s": 0.05,
    "reap_batch_max": 1,
    "reap_retry_s": 0.5,
}
PODS = 4
WEB_0 = identity("web-0")


@pytest.fixture
async def world(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[EniWorld]:
    """Neither an allocator nor an eni_manager runs yet."""
    async with eni_world(nats_server, redis_server, tmp_path) as found:
        yield found


async def cloud_addresses(world: EniWorld, agent: StandInAgent) -> set[str]:
    enis = [each.eni for each in agent.enis.values() if not each.is_primary]
    return {address for eni in enis for address in await world.cloud.addresses(eni)}


async def want_at_least(agent: StandInAgent, idle: int) -> None:
    """Wants that cross an offer may bring one address more than was lacking."""

    async def has_them() -> bool:
        await agent.want()
        return len(agent.idle) >= idle

    await eventually(has_them, timeout_s=20)


async def reclaim(world: EniWorld, address: IPv4Address, generation: int) -> Reclaimed:
    return await world.bus.call(
        ADDRESS_RECLAIM,
        ReclaimRequest(
            deadline=datetime.now(UTC) + timedelta(seconds=5),
            identity=IdentityFields.of(WEB_0),
            address=address,
            node="node-1",
            generation=generation,
        ),
    )


async def lease_expires(world: EniWorld, agent: StandInAgent, generation: int) -> IPv4Address:
    """As an allocator writes it before it asks for the hand-over."""
    address = sorted(agent.idle)[0]
    del agent.owned[address]
    await world.lease_moves(
        WEB_0,
        address,
        subnet="subnet-a",
        to_node="node-1",
        generation=generation,
        state=AddressState.EXPIRED,
    )
    return address


async def forget(world: EniWorld, address: IPv4Address) -> None:
    await world.redis.hdel(lease_key(CLUSTER, "fixed"), WEB_0.token)
    await world.redis.hdel(lease_key(CLUSTER, "addresses"), str(address))


async def test_what_an_expired_lease_leaves_is_its_nodes_stock_again(world: EniWorld) -> None:
    agent = await world.agent("node-1", "ins-one")
    async with world.manager(), allocator(world, **REAPING):
        await agent.want_until(idle=3)
        pods = FixedPods(world, agent)
        await pods.register()

        address = await pods.start_and_end("web-0")

        async def is_stock() -> bool:
            return address in agent.owned

        await eventually(is_stock)
        assert await world.leases() == {}
        assert await cloud_addresses(world, agent) == {str(it) for it in agent.owned}


async def test_what_is_stock_above_the_maximum_then_is_unassigned(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with eni_world(
        nats_server, redis_server, tmp_path, warm_addresses_min=2, warm_addresses_max=2
    ) as world:
        agent = await world.agent("node-1", "ins-one")
        async with world.manager(), allocator(world, **REAPING):
            await agent.want_until(idle=2)
            pods = FixedPods(world, agent)
            await pods.register()
            await pods.start("web-0")
            await agent.want_until(idle=2)
            await pods.start_and_end("web-1")
            await agent.want_until(idle=2)

            async def is_even() -> bool:
                held = await cloud_addresses(world, agent)
                leased = {str(each.address) for each in (await world.leases()).values()}
                stock = {str(it) for it in agent.owned}
                return len(stock) == 2 and len(leased) == 1 and held == stock | leased

            await eventually(is_even, timeout_s=20)

            assert len(agent.owned) == 2


async def test_a_bound_lease_is_not_taken_back(world: EniWorld) -> None:
    agent = await world.agent("node-1", "ins-one")
    async with world.manager(), allocator(world, **REAPING):
        await agent.want_until(idle=3)
        pods = FixedPods(world, agent)
        await pods.register()
        held = (await pods.start("web-0")).address

        gone = await pods.start_and_end("web-1")

        async def is_stock() -> bool:
            return gone in agent.owned

        await eventually(is_stock)
        assert {each.address for each in (await world.leases()).values()} == {held}


async def test_nobody_is_offered_what_a_lease_still_names(world: EniWorld) -> None:
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        await agent.want_until(idle=3)
        address = await lease_expires(world, agent, generation=7)

        first = await reclaim(world, address, generation=7)
        await want_at_least(agent, idle=3)  # another one is assigned instead
        again = await reclaim(world, address, generation=7)
        before = set(agent.owned)
        await forget(world, address)

        async def is_stock() -> bool:
            return address in agent.owned

        await eventually(is_stock)
        assert first == again
        assert address not in before


async def test_what_was_taken_back_is_known_to_the_next_manager(world: EniWorld) -> None:
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        await agent.want_until(idle=3)
        address = await lease_expires(world, agent, generation=7)
        await reclaim(world, address, generation=7)

    async with world.manager():
        agent.incarnation += 1  # it looks at the cloud, the leases and the agent anew
        await want_at_least(agent, idle=3)
        held = await world.holds("node-1")
        await forget(world, address)

        async def is_stock() -> bool:
            return address in agent.owned

        await eventually(is_stock)
        assert held[str(address)] == "reclaimed"


@pytest.mark.parametrize(
    ("state", "generation"),
    [(AddressState.RETAINED, 7), (AddressState.BOUND_FIXED, 7), (AddressState.EXPIRED, 6)],
)
async def test_only_the_leases_own_expired_step_gives_its_address_away(
    world: EniWorld, state: AddressState, generation: int
) -> None:
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        await agent.want_until(idle=3)
        address = sorted(agent.idle)[0]
        await world.lease_moves(
            WEB_0, address, subnet="subnet-a", to_node="node-1", generation=7, state=state
        )

        with pytest.raises(Stale, match=f"{state} at generation 7"):
            await reclaim(world, address, generation=generation)

        assert (await world.holds("node-1"))[str(address)] == "given"


async def test_a_late_question_for_a_forgotten_lease_is_stale(world: EniWorld) -> None:
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        await agent.want_until(idle=3)

        with pytest.raises(Stale, match="handed over before"):
            await reclaim(world, sorted(agent.idle)[0], generation=7)

        assert set((await world.holds("node-1")).values()) == {"given"}


async def test_what_a_pod_still_uses_is_offered_once_the_pod_has_ended(
    world: EniWorld,
) -> None:
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        await agent.want_until(idle=3)
        eni = agent.owned[sorted(agent.idle)[0]]
        address = await lease_expires(world, agent, generation=7)
        agent.fixed[address] = eni  # its lease was ended by force, and it has not heard so
        offers = agent.offers
        await reclaim(world, address, generation=7)
        await forget(world, address)

        async def is_refused() -> bool:
            return (
                agent.offers > offers and (await world.holds("node-1"))[str(address)] == "given"
            )

        await eventually(is_refused)
        del agent.fixed[address]
        agent.incarnation += 1  # looked at anew

        await want_at_least(agent, idle=3)

        assert address in agent.owned


async def at_once(is_so: Callable[[], Awaitable[bool]]) -> None:
    """As soon as it is so: it lasts for milliseconds, so it is asked without a pause."""
    async with asyncio.timeout(20):
        while not await is_so():
            pass


async def is_expired(world: EniWorld) -> bool:
    return any(each.state is AddressState.EXPIRED for each in (await world.leases()).values())


async def is_reclaimed(world: EniWorld) -> bool:
    return "reclaimed" in (await world.holds("node-1")).values()


async def is_forgotten(world: EniWorld) -> bool:
    return len(await world.leases()) < PODS


@pytest.mark.parametrize("moment", [is_expired, is_reclaimed, is_forgotten])
@pytest.mark.parametrize("victim", ["allocator", "eni_manager"])
async def test_whoever_is_killed_nothing_is_lost_and_nothing_doubled(
    nats_server: NatsServer,
    redis_server: RedisServer,
    tmp_path: Path,
    moment: Callable[[EniWorld], Awaitable[bool]],
    victim: str,
) -> None:
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(
            eni_world(nats_server, redis_server, tmp_path, warm_addresses_min=PODS + 1)
        )
        agent = await world.agent("node-1", "ins-one")
        manager = await world.process()
        # Kept for long enough that none ends before all are there.
        reaping = REAPING | {"default_expires_after_s": 1.0}
        first = await stack.enter_async_context(allocator_process(world, **reaping))
        await agent.want_until(idle=PODS + 1, timeout_s=20)
        everything = await cloud_addresses(world, agent)
        pods = FixedPods(world, agent)
        await pods.register()
        for number in range(PODS):
            await pods.start_and_end(f"web-{number}")
        await agent.want()

        await at_once(lambda: moment(world))
        (first if victim == "allocator" else manager).kill()
        if victim == "allocator":
            await stack.enter_async_context(allocator_process(world, **REAPING))
        else:
            await world.process()

        async def is_whole() -> bool:
            owned = {str(it) for it in agent.owned}
            leased = {str(each.address) for each in (await world.leases()).values()}
            assert not owned & leased, "an address is stock and a lease at once"
            return owned == everything and not leased

        await eventually(is_whole, timeout_s=30)
        assert await cloud_addresses(world, agent) == everything
        assert set((await world.holds("node-1")).values()) == {"given"}
