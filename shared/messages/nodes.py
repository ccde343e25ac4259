"""``node.<node>.register``, ``node.<node>.want`` and ``agent.<node>.*``: a node and its stock.

Ownership of an address changes only at an answer: the node's at its acceptance of an offer,
the eni_manager's at the agent's answer to a recall.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field

from shared.addresses import AddressState
from shared.annotations import NOMINATED_SUBNETS_MAX

from .base import (
    BATCH_MAX,
    AttachmentFields,
    Endpoint,
    EniFields,
    IdentityFields,
    Message,
    Name,
    Request,
    ServiceName,
)

WAITING_IN_MAX: Final = 16  # different nominations of one node that are served at a time


class RegisterRequest(Request):
    """An agent begins a life: everything an earlier life of this node sent is dead from now."""

    type: Literal["berth.v1.register_request"] = "berth.v1.register_request"
    node: Name
    instance: Name
    version: Name
    last_incarnation: Annotated[int, Field(ge=0)]  # 0: a book that never registered
    nonce: Name  # of this start: a repeated request gets the same incarnation


class Registered(Message):
    type: Literal["berth.v1.registered"] = "berth.v1.registered"
    incarnation: Annotated[int, Field(ge=1)]


class StockCounts(Message):
    """How many of the node's addresses are in each state, as its agent counts them."""

    idle: Annotated[int, Field(ge=0)]
    promised: Annotated[int, Field(ge=0)]
    cooling: Annotated[int, Field(ge=0)]
    bound_immediate: Annotated[int, Field(ge=0)]
    bound_fixed: Annotated[int, Field(ge=0)]
    waiting: Annotated[int, Field(ge=0)]  # pods that found no idle address


_NO_STOCK: Final = StockCounts(
    idle=0, promised=0, cooling=0, bound_immediate=0, bound_fixed=0, waiting=0
)


class WaitingIn(Message):
    """Pods that take an address of the subnets they name, and no other."""

    subnets: Annotated[list[Name], Field(min_length=1, max_length=NOMINATED_SUBNETS_MAX)]
    count: Annotated[int, Field(ge=1, le=BATCH_MAX)]  # pods that found no idle one there
    idle: Annotated[int, Field(ge=0)]  # addresses that are idle there by now


class WantRequest(Request):
    """The node's demand, sent on start, on change and as a heartbeat."""

    type: Literal["berth.v1.want_request"] = "berth.v1.want_request"
    node: Name
    instance: Name
    incarnation: Annotated[int, Field(ge=1)]
    counts: StockCounts  # of addresses that share their ENI
    enis: Annotated[list[Name], Field(max_length=BATCH_MAX)]  # that the agent has set up
    exclusive: StockCounts = _NO_STOCK  # of ENIs that one pod has, or may have, as a whole
    group: Name | None = None  # of nodes, for settings that a group of nodes shares
    warm_min: Annotated[int, Field(ge=0, le=BATCH_MAX)] | None = None  # the node's own word
    warm_max: Annotated[int, Field(ge=0, le=BATCH_MAX)] | None = None
    # Not among the `waiting` of `counts`:
    waiting_in: Annotated[tuple[WaitingIn, ...], Field(max_length=WAITING_IN_MAX)] = ()


class NodeCapacity(Message):
    """What a node may have by quota and pod maximum, and what it could still be given now."""

    addresses_max: Annotated[int, Field(ge=0)]  # secondary ones: pods of shared ENIs
    addresses_free: Annotated[int, Field(ge=0)]  # more could be assigned
    enis_max: Annotated[int, Field(ge=0)]  # secondary ones: pods with an ENI of their own
    enis_free: Annotated[int, Field(ge=0)]  # more could be attached


class Wanted(Message):
    """Heard; offers follow. `problem` tells why the node cannot get (more) addresses."""

    type: Literal["berth.v1.wanted"] = "berth.v1.wanted"
    problem: str | None = None
    capacity: NodeCapacity | None = None  # None: the instance was not looked at yet


class Order(Request):
    """From the shard that owns the node: an agent refuses a (term, sequence) below the last."""

    node: Name
    term: Annotated[int, Field(ge=1)]
    sequence: Annotated[int, Field(ge=1)]


class OfferedAddress(Message):
    address: IPv4Address
    eni: Name


class StockOffer(Order):
    """ENIs to set up and addresses to own. Also sent with no addresses, to tell of ENIs."""

    type: Literal["berth.v1.stock_offer"] = "berth.v1.stock_offer"
    enis: Annotated[list[EniFields], Field(max_length=BATCH_MAX)]  # every ENI of the node
    addresses: Annotated[list[OfferedAddress], Field(max_length=BATCH_MAX)]
    # The cloud has these on no ENI of the node any more: no pod is to be given one.
    lost: Annotated[tuple[IPv4Address, ...], Field(max_length=BATCH_MAX)] = ()


class OfferAccepted(Message):
    """Fsynced in the node's state folder: these addresses are the agent's from now."""

    type: Literal["berth.v1.offer_accepted"] = "berth.v1.offer_accepted"
    accepted: list[IPv4Address]
    refused: tuple[IPv4Address, ...] = ()  # already a fixed lease's here, or on an unknown ENI


class StockRecall(Order):
    """Take up to `count` idle addresses back, from `eni` if one is named; else of those that
    share their ENI, or with `is_exclusive` of ENIs that one pod has as a whole."""

    type: Literal["berth.v1.stock_recall"] = "berth.v1.stock_recall"
    recall: Name  # the answer is kept under this id until it appears in `settled`
    eni: str | None = None
    count: Annotated[int, Field(ge=1, le=BATCH_MAX)]
    is_exclusive: bool = False
    settled: Annotated[tuple[Name, ...], Field(max_length=BATCH_MAX)] = ()


class StockRecalled(Message):
    """Struck off the agent's book before this was sent; they are the eni_manager's."""

    type: Literal["berth.v1.stock_recalled"] = "berth.v1.stock_recalled"
    addresses: list[OfferedAddress]


class InventoryRequest(Request):
    type: Literal["berth.v1.inventory_request"] = "berth.v1.inventory_request"
    node: Name
    with_kernel: bool = False  # look at the wires too, which costs a dump of routes and rules


class InventoryEntry(Message):
    """One address of the node, with whom it is bound to."""

    address: IPv4Address
    eni: Name
    state: AddressState
    identity: IdentityFields | None = None
    pod_uid: str | None = None
    attachment: AttachmentFields | None = None
    generation: int | None = None
    since: AwareDatetime
    is_wired: bool | None = None  # whether the kernel has a pod's wire; None: not looked at


class WaitingPod(Message):
    """A pod whose last ADD did not succeed, and why."""

    identity: IdentityFields
    code: Name
    detail: str
    since: AwareDatetime
    attempts: Annotated[int, Field(ge=1)]


class Inventory(Message):
    """Everything the agent knows: which addresses are its own, and who uses each."""

    type: Literal["berth.v1.inventory"] = "berth.v1.inventory"
    node: Name
    instance: Name
    incarnation: int
    enis: list[EniFields]
    addresses: list[InventoryEntry]
    waiting: tuple[WaitingPod, ...] = ()


class UnusedLease(Message):
    """A bind that the store knows and its node does not."""

    identity: IdentityFields
    attachment: AttachmentFields
    pod_uid: Annotated[str, Field(min_length=1, max_length=64)]
    address: IPv4Address
    eni: Name
    generation: Annotated[int, Field(ge=1)]


class MendRequest(Request):
    """Compare kernel and book now, put the kernel right, and tell the allocator everything.

    What others were seen to know better is judged by the agent's own book: of `lost` only what
    is idle is struck off, of `unused` only what no pod here has is released.
    """

    type: Literal["berth.v1.mend_request"] = "berth.v1.mend_request"
    node: Name
    # Addresses that the cloud does not have on that ENI.
    lost: Annotated[tuple[OfferedAddress, ...], Field(max_length=BATCH_MAX)] = ()
    unused: Annotated[tuple[UnusedLease, ...], Field(max_length=BATCH_MAX)] = ()


class Mended(Message):
    """The kernel is as the book says; the report is on its way."""

    type: Literal["berth.v1.mended"] = "berth.v1.mended"
    repaired: Annotated[int, Field(ge=0)]  # links, routes, rules and settings put right
    struck: Annotated[int, Field(ge=0)] = 0  # addresses that are no more in its book
    released: Annotated[int, Field(ge=0)] = 0  # binds whose release is on its way


NODE_REGISTER: Final = Endpoint(
    name="node.<node>.register",
    server=ServiceName.ALLOCATOR,
    request=RegisterRequest,
    outcome=Registered,
    idempotency_key="nonce",
    on_timeout="ask again; stock is served meanwhile, fixed leases wait",
    timeout_s=5.0,
)
NODE_WANT: Final = Endpoint(
    name="node.<node>.want",
    server=ServiceName.ENI_MANAGER,
    request=WantRequest,
    outcome=Wanted,
    idempotency_key="none: the newest counts",
    on_timeout="say it again at the next beat",
    timeout_s=3.0,
)
STOCK_OFFER: Final = Endpoint(
    name="agent.<node>.stock.offer",
    server=ServiceName.NODE_AGENT,
    request=StockOffer,
    outcome=OfferAccepted,
    idempotency_key="address",
    on_timeout="maybe accepted: still in doubt, offer the same addresses again",
    timeout_s=5.0,
)
STOCK_RECALL: Final = Endpoint(
    name="agent.<node>.stock.recall",
    server=ServiceName.NODE_AGENT,
    request=StockRecall,
    outcome=StockRecalled,
    idempotency_key="recall",
    on_timeout="maybe struck off: ask again under the same id",
    timeout_s=5.0,
)
AGENT_INVENTORY: Final = Endpoint(
    name="agent.<node>.inventory",
    server=ServiceName.NODE_AGENT,
    request=InventoryRequest,
    outcome=Inventory,
    idempotency_key="none: it reads",
    on_timeout="the node is away: its own addresses stay its own",
    timeout_s=3.0,
)
AGENT_MEND: Final = Endpoint(
    name="agent.<node>.mend",
    server=ServiceName.NODE_AGENT,
    request=MendRequest,
    outcome=Mended,
    idempotency_key="none: it looks again",
    on_timeout="ask again",
    timeout_s=5.0,
)
