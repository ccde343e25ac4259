"""What breaks: one function each. It breaks something for a while and leaves it healed.

Each says what it broke and counts what it touched; who touches nothing has proved nothing.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Final

from tests.chaos.history import FaultUnderWay
from tests.chaos.nemeses import clocks, clouds, clusters, network, processes, stores
from tests.chaos.world import World

Nemesis = Callable[[World, random.Random, FaultUnderWay], Awaitable[None]]

STEPPED_CLOCK: Final = "stepped-clock"
NEMESES: Final[dict[str, Nemesis]] = {
    "kill-allocator": processes.kill_allocator,
    "kill-eni-manager": processes.kill_eni_manager,
    "kill-agent": processes.kill_agent,
    "kill-nats": processes.kill_nats,
    "kill-redis": processes.kill_redis,
    "freeze-allocator": processes.freeze_allocator,
    "freeze-eni-manager": processes.freeze_eni_manager,
    "freeze-nats": processes.freeze_nats,
    "freeze-redis": processes.freeze_redis,
    "roll-out": processes.restart_services,
    "restart-agent": processes.restart_agent,
    "flush-redis": stores.flush_redis,
    "restore-redis": stores.restore_redis,
    "full-redis-disk": stores.fill_redis_disk,
    "full-journal-disk": stores.fill_nats_disk,
    "full-book-disk": stores.fill_book_disk,
    "cut-off-node": network.cut_off_node,
    "cut-off-store": network.cut_off_store,
    "cut-off-bus": network.cut_off_bus,
    "slow-network": network.slow_network,
    "lossy-network": network.lossy_network,
    "copied-messages": network.copied_messages,
    "throttled-cloud": clouds.throttled_cloud,
    "slow-cloud": clouds.slow_cloud,
    "silent-cloud": clouds.silent_cloud,
    "failing-cloud": clouds.failing_cloud,
    "lying-cloud": clouds.lying_cloud,
    "lost-machine": clouds.lost_machine,
    "broken-wires": clouds.broken_wires,
    STEPPED_CLOCK: clocks.stepped_clock,
}
"""By the names that the table shows."""
OF_CLUSTERS: Final[dict[str, Nemesis]] = {
    "kill-bus-follower": clusters.kill_bus_follower,
    "kill-bus-leader": clusters.kill_bus_leader,
    "cut-off-bus-server": clusters.cut_off_bus_server,
    "kill-store-master": clusters.kill_store_master,
    "kill-sentinel": clusters.kill_sentinel,
    "lose-a-third": clusters.lose_a_third,
}
"""Where bus and store are three servers each."""
