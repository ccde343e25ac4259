"""Every metric of Berth in one place: names are an interface, and a golden test keeps them.

``berth_<service>_<noun>_<unit>[_total]``; labels have few values (never a pod or an address).
"""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_FAST_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_CLOUD_S: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

BUS_REQUEST_SECONDS: Final = Histogram(
    "berth_bus_request_seconds",
    "Time a server took to answer a request.",
    ["endpoint", "outcome"],
    buckets=_FAST_S,
)
BUS_REQUESTS_IN_FLIGHT: Final = Gauge(
    "berth_bus_requests_in_flight", "Requests taken and not yet answered."
)
BUS_CALLS_TOTAL: Final = Counter(
    "berth_bus_calls_total", "Requests this process sent, by outcome.", ["endpoint", "outcome"]
)
EVENTS_LOST_TOTAL: Final = Counter(
    "berth_bus_events_lost_total", "Events that the bus did not take in time.", ["noun"]
)

ALLOCATOR_LEASES: Final = Gauge(
    "berth_allocator_leases_count", "Fixed leases by state.", ["state"]
)
ALLOCATOR_STEPS_TOTAL: Final = Counter(
    "berth_allocator_steps_total", "Lease steps, by step and outcome.", ["step", "outcome"]
)
ALLOCATOR_JOURNAL_SECONDS: Final = Histogram(
    "berth_allocator_journal_seconds", "Time until a step was journaled.", buckets=_FAST_S
)
ALLOCATOR_REAPER_STOPPED: Final = Gauge(
    "berth_allocator_reaper_stopped_count",
    "1 while no lease expires here, because the store's clock cannot be believed.",
)
ALLOCATOR_REAPER_LOOKS_TOTAL: Final = Counter(
    "berth_allocator_reaper_looks_total",
    "Retained leases that were looked at, by verdict; unknown: kept until more is known.",
    ["verdict"],
)
ALLOCATOR_REFUSING: Final = Gauge(
    "berth_allocator_refusing_count",
    "1 while steps are refused, because they could not be kept: by cause.",
    ["cause"],
)
ALLOCATOR_JOURNAL_BACKLOG: Final = Gauge(
    "berth_allocator_journal_backlog_count", "Steps in the store that are not yet journaled."
)
ALLOCATOR_NEWER_RECORDS: Final = Gauge(
    "berth_allocator_newer_records_count",
    "With stored_format 1: what the release before could not read yet, by book.",
    ["book"],
)

CLOUD_CALL_SECONDS: Final = Histogram(
    "berth_eni_manager_cloud_call_seconds",
    "Time of one call to the cloud's API.",
    ["action", "outcome"],
    buckets=_CLOUD_S,
)
CLOUD_THROTTLE_WAIT_SECONDS: Final = Histogram(
    "berth_eni_manager_throttle_wait_seconds",
    "Time a call waited for its turn under the account's rate limit.",
    ["action"],
    buckets=_CLOUD_S,
)
SUBNET_LASTS_SECONDS: Final = Gauge(
    "berth_eni_manager_subnet_exhausted_in_seconds",
    "Time after which a subnet has no free address, as fast as they went lately.",
    ["subnet"],
)
CLOUD_REFUSALS_TOTAL: Final = Counter(
    "berth_eni_manager_cloud_refusals_total",
    "Calls that the cloud refused for good, by its own code.",
    ["action", "code"],
)
ENI_MANAGER_ADDRESSES: Final = Gauge(
    "berth_eni_manager_addresses_count", "Addresses on our ENIs, by state.", ["state"]
)
SUBNET_FREE_ADDRESSES: Final = Gauge(
    "berth_eni_manager_subnet_free_addresses_count", "Free addresses of a subnet.", ["subnet"]
)
SUBNET_FOREIGN_ADDRESSES: Final = Gauge(
    "berth_eni_manager_subnet_foreign_addresses_count",
    "Addresses of a container subnet that are not ours.",
    ["subnet"],
)
VPC_ENIS_WANTED: Final = Gauge(
    "berth_eni_manager_vpc_enis_wanted_count",
    "Nodes whose pods wait for an ENI, while the VPC has as many as its quota allows.",
)
ENIS_GAVE_WAY_TOTAL: Final = Counter(
    "berth_eni_manager_enis_gave_way_total",
    "Idle ENIs given up for pods of other nodes, since the VPC's quota was reached.",
)
ORPHANS: Final = Gauge(
    "berth_eni_manager_tagged_enis_count",
    "ENIs that carry our tags, by what they are to the books.",
    ["found"],
)
STRANGERS: Final = Gauge(
    "berth_eni_manager_stranger_enis_count",
    "ENIs on nodes' instances that are not ours: left alone, each takes up a slot.",
)
MOVES_TOTAL: Final = Counter(
    "berth_eni_manager_moves_total", "Moves of fixed addresses, by outcome.", ["outcome"]
)

CNI_SECONDS: Final = Histogram(
    "berth_node_agent_cni_seconds",
    "Time of one CNI verb in the agent.",
    ["verb", "outcome"],
    buckets=_FAST_S,
)
STOCK_ADDRESSES: Final = Gauge(
    "berth_node_agent_addresses_count", "Addresses of this node, by state.", ["state"]
)
EXCLUSIVE_ENIS: Final = Gauge(
    "berth_node_agent_exclusive_enis_count",
    "ENIs that one pod has, or may have, by state.",
    ["state"],
)
SPOOL_DEPTH: Final = Gauge(
    "berth_node_agent_spool_depth_count", "Deletions spooled and not yet worked off."
)
SPOOL_OLDEST_SECONDS: Final = Gauge(
    "berth_node_agent_spool_oldest_seconds", "Age of the oldest deletion that is spooled."
)
SPOOL_LOST: Final = Gauge(
    "berth_node_agent_spool_lost_count",
    "Deletions since boot that found no room in the spool: garbage collection finishes them.",
)
OUTBOX_OLDEST_SECONDS: Final = Gauge(
    "berth_node_agent_outbox_oldest_seconds", "Age of the oldest undelivered message."
)
BOOK_DAMAGED_TOTAL: Final = Counter(
    "berth_node_agent_book_damaged_total",
    "Pages of the node's book that were not as written, put aside and made up for, by kind.",
    ["kind"],
)
ADOPTED_TOTAL: Final = Counter(
    "berth_node_agent_adopted_total",
    "Wires of live pods found without a page in the book: entered again (known), kept for a pod"
    " that nothing names (unknown), or taken away because another has the address (refused).",
    ["whose"],
)
REPAIRS_TOTAL: Final = Counter(
    "berth_node_agent_repairs_total", "Kernel objects that were not as wanted.", ["kind"]
)
GARBAGE_TOTAL: Final = Counter(
    "berth_node_agent_garbage_total", "Attachments freed whose DEL never came."
)
TABLES_DISPLACED: Final = Gauge(
    "berth_node_agent_tables_displaced_count",
    "Our routing tables that have another number, because somebody else has routes in it.",
)
COOLING_SHORTENED_TOTAL: Final = Counter(
    "berth_node_agent_cooling_shortened_total",
    "Addresses used again before their rest was over, flushed, because pods waited.",
)
EVICTED_HOLDERS_TOTAL: Final = Counter(
    "berth_node_agent_evicted_holders_total",
    "Addresses unwired because the cloud had given them to another ENI.",
)

SIMULATOR_CALLS_TOTAL: Final = Counter(
    "berth_vpc_simulator_calls_total",
    "Calls of the cloud's API that were answered, by action and error code.",
    ["action", "code"],
)

WEBHOOK_REVIEWS_TOTAL: Final = Counter(
    "berth_allocator_webhook_reviews_total",
    "Pods that the API server asked about, by webhook and answer.",
    ["webhook", "answer"],
)
EXTENDER_ANSWERS_TOTAL: Final = Counter(
    "berth_allocator_extender_answers_total",
    "Questions of the scheduler, by verb and answer: judged, or why every node passed.",
    ["verb", "answer"],
)
EXTENDER_SECONDS: Final = Histogram(
    "berth_allocator_extender_seconds",
    "Time of one answer to the scheduler.",
    ["verb"],
    buckets=_FAST_S,
)
VACANCIES_AGE_SECONDS: Final = Gauge(
    "berth_allocator_vacancies_age_seconds",
    "How old is what the allocator knows of the nodes' room.",
)
MIRROR_WRITES_TOTAL: Final = Counter(
    "berth_allocator_mirror_writes_total",
    "Kubernetes objects written to show leases, by verb and outcome.",
    ["verb", "outcome"],
)
MIRROR_BEHIND: Final = Gauge(
    "berth_allocator_mirror_behind_count", "Objects that did not show what the store holds."
)
NODE_OBJECTS_WRITES_TOTAL: Final = Counter(
    "berth_eni_manager_mirror_writes_total",
    "Kubernetes objects written to show nodes and ENIs, by verb and outcome.",
    ["verb", "outcome"],
)
NODE_OBJECTS_TAINTED: Final = Gauge(
    "berth_eni_manager_tainted_nodes_count", "Kubernetes nodes that wait to be able to serve."
)
POD_EVENTS_TOTAL: Final = Counter(
    "berth_allocator_pod_events_total",
    "Kubernetes events told about leases, by verb and outcome.",
    ["verb", "outcome"],
)
CALLOUTS_TOTAL: Final = Counter(
    "berth_allocator_callouts_total",
    "Clients without a key that the bus asked about, by answer.",
    ["answer"],
)
