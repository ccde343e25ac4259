"""The errors callers can act on. Each has one stable code, which is what crosses the wire.

BerthError
├── Refused              the answer is no, and asking again the same way will not help
│   ├── InvalidInput         a field holds what is not allowed; says field, value, allowed
│   ├── NotFound             no such lease, node, subnet, pod
│   ├── Stale                from an older incarnation, generation, sequence or term
│   ├── NotAuthorised        this sender may not ask this
│   ├── LeaseInUse           a live pod uses it
│   ├── WrongSubnet          a fixed address cannot follow its pod to this node
│   ├── FixedIpNotSupported  the cluster was enabled without fixed addresses
│   ├── ClusterNotEnabled    no subnets were named for it yet, or it was disabled
│   ├── CannotChange         settled when the cluster was enabled; names both values
│   ├── KubernetesUnsuited   too old, or without CNI
│   ├── SubnetInUse          somebody else's, or our own, addresses are in it
│   ├── WrongVpc             the subnet is not in the VPC of the others
│   ├── NoSubnetInZone       a node's zone has no container subnet
│   ├── PodsExist            pods use addresses: the cluster cannot be disabled
│   ├── LeasesRetained       leases of pods that are away would end
│   ├── NodeAlive            something may still run on a node that is said to be gone
│   └── CloudRefused         the cloud said no for good (its code is in the detail)
└── TryLater             the answer may be yes later; the caller may repeat the request
    ├── Unavailable          bus, store, journal or cloud did not answer: maybe done
    │   └── NoAnswer             nobody was heard at all (the same code)
    ├── StorageFull          store or journal take no more: nothing was written
    ├── Busy                 the server is full; another may not be
    ├── StockEmpty           no idle address on this node yet
    ├── SubnetFull           no free address in any subnet that this node can use
    ├── QuotaReached         the instance's ENIs and addresses are all in use
    ├── Moving               the address is on its way to this node
    ├── ClusterChanging      it is being enabled or disabled at this moment
    ├── HolderAlive          the pod's predecessor of the same name has not ended yet
    ├── EpochLost            the store is not the one the journal knows; recovery runs
    └── PodUnknown           the pod or its policy is not known (yet): never a guess
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Final


class ErrorCode(StrEnum):
    """Codes on the wire. Never renamed and never reused; new ones may be added."""

    INVALID_INPUT = "invalid_input"
    NOT_FOUND = "not_found"
    STALE = "stale"
    NOT_AUTHORISED = "not_authorised"
    LEASE_IN_USE = "lease_in_use"
    WRONG_SUBNET = "wrong_subnet"
    FIXED_IP_NOT_SUPPORTED = "fixed_ip_not_supported"
    CLOUD_REFUSED = "cloud_refused"
    CLUSTER_NOT_ENABLED = "cluster_not_enabled"
    CANNOT_CHANGE = "cannot_change"
    KUBERNETES_UNSUITED = "kubernetes_unsuited"
    SUBNET_IN_USE = "subnet_in_use"
    WRONG_VPC = "wrong_vpc"
    NO_SUBNET_IN_ZONE = "no_subnet_in_zone"
    PODS_EXIST = "pods_exist"
    LEASES_RETAINED = "leases_retained"
    NODE_ALIVE = "node_alive"
    UNAVAILABLE = "unavailable"
    STORAGE_FULL = "storage_full"
    BUSY = "busy"
    STOCK_EMPTY = "stock_empty"
    SUBNET_FULL = "subnet_full"
    QUOTA_REACHED = "quota_reached"
    MOVING = "moving"
    CLUSTER_CHANGING = "cluster_changing"
    HOLDER_ALIVE = "holder_alive"
    EPOCH_LOST = "epoch_lost"
    NOT_REGISTERED = "not_registered"
    POD_UNKNOWN = "pod_unknown"
    INTERNAL = "internal"


class BerthError(Exception):
    """Base of every expected failure. A bug is any other exception."""

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL


class Refused(BerthError):
    """Final: repeating the request unchanged cannot succeed."""


class TryLater(BerthError):
    """Transient: the same request, with the same key, may succeed later."""


class InvalidInput(Refused):
    """Raised when a field holds what is not allowed."""

    code = ErrorCode.INVALID_INPUT

    @classmethod
    def of(cls, field: str, value: object, allowed: str) -> InvalidInput:
        """The one wording of bad input: field, value, and what is allowed."""
        shown = repr(value)
        if len(shown) > 120:
            shown = shown[:117] + "..."
        return cls(f"{field}: {shown} is not allowed; allowed: {allowed}")


class NotFound(Refused):
    code = ErrorCode.NOT_FOUND


class Stale(Refused):
    code = ErrorCode.STALE


class NotAuthorised(Refused):
    code = ErrorCode.NOT_AUTHORISED


class LeaseInUse(Refused):
    code = ErrorCode.LEASE_IN_USE


class WrongSubnet(Refused):
    code = ErrorCode.WRONG_SUBNET


class FixedIpNotSupported(Refused):
    code = ErrorCode.FIXED_IP_NOT_SUPPORTED


class CloudRefused(Refused):
    code = ErrorCode.CLOUD_REFUSED


class ClusterNotEnabled(Refused):
    code = ErrorCode.CLUSTER_NOT_ENABLED


class CannotChange(Refused):
    code = ErrorCode.CANNOT_CHANGE


class KubernetesUnsuited(Refused):
    code = ErrorCode.KUBERNETES_UNSUITED


class SubnetInUse(Refused):
    code = ErrorCode.SUBNET_IN_USE


class WrongVpc(Refused):
    code = ErrorCode.WRONG_VPC


class NoSubnetInZone(Refused):
    code = ErrorCode.NO_SUBNET_IN_ZONE


class PodsExist(Refused):
    code = ErrorCode.PODS_EXIST


class LeasesRetained(Refused):
    code = ErrorCode.LEASES_RETAINED


class NodeAlive(Refused):
    code = ErrorCode.NODE_ALIVE


class Unavailable(TryLater):
    code = ErrorCode.UNAVAILABLE


class NoAnswer(Unavailable):
    """Raised when nobody answered, where Unavailable may also be somebody's answer. On the
    wire it is the same."""


class StorageFull(TryLater):
    code = ErrorCode.STORAGE_FULL


class Busy(TryLater):
    code = ErrorCode.BUSY


class StockEmpty(TryLater):
    code = ErrorCode.STOCK_EMPTY


class SubnetFull(TryLater):
    code = ErrorCode.SUBNET_FULL


class QuotaReached(TryLater):
    code = ErrorCode.QUOTA_REACHED


class Moving(TryLater):
    code = ErrorCode.MOVING


class ClusterChanging(TryLater):
    code = ErrorCode.CLUSTER_CHANGING


class HolderAlive(TryLater):
    code = ErrorCode.HOLDER_ALIVE


class EpochLost(TryLater):
    code = ErrorCode.EPOCH_LOST


class NotRegistered(TryLater):
    code = ErrorCode.NOT_REGISTERED


class PodUnknown(TryLater):
    code = ErrorCode.POD_UNKNOWN


def _coded(base: type[BerthError]) -> list[type[BerthError]]:
    """Those that have a code of their own."""
    found = [each for child in base.__subclasses__() for each in _coded(child)]
    is_coded = base is not BerthError and "code" in vars(base)
    return [base, *found] if is_coded else found


ERROR_BY_CODE: Final[dict[ErrorCode, type[BerthError]]] = {
    each.code: each for each in _coded(BerthError)
}


def error_of(code: ErrorCode, detail: str) -> BerthError:
    """The exception that a code on the wire stands for."""
    return ERROR_BY_CODE.get(code, BerthError)(detail)
