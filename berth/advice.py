"""What a person can do about each reason that a pod waits for (pure)."""

from __future__ import annotations

from typing import Final

from shared.errors import ErrorCode

_E = ErrorCode

ADVICE: Final[dict[ErrorCode, str]] = {
    _E.INVALID_INPUT: "correct the pod's annotations or resources; the detail names the field",
    _E.NOT_FOUND: "look whether the pod and its node still exist",
    _E.STALE: "nothing: a newer request of the same pod is on its way",
    _E.NOT_AUTHORISED: "give the node's agent the key of its own node",
    _E.LEASE_IN_USE: "delete the pod that uses the address, or wait for its end",
    _E.WRONG_SUBNET: "schedule the pod on a node that has, or can get, an ENI in that subnet",
    _E.FIXED_IP_NOT_SUPPORTED: "use the policy Immediate, or a cluster with fixed addresses",
    _E.CLOUD_REFUSED: "look up the cloud's code in the detail; it will not change by itself",
    _E.CLUSTER_NOT_ENABLED: "enable the cluster: `berth enable --help`",
    _E.CANNOT_CHANGE: "keep the value, or disable the cluster and enable it anew",
    _E.KUBERNETES_UNSUITED: "use Kubernetes 1.10 or newer with CNI enabled",
    _E.SUBNET_IN_USE: "name an empty subnet, or free what the detail names",
    _E.WRONG_VPC: "name subnets of one VPC, the nodes' own",
    _E.NO_SUBNET_IN_ZONE: "add a subnet of the node's zone: `berth subnet add`",
    _E.PODS_EXIST: "delete the pods that the detail names, then disable again",
    _E.LEASES_RETAINED: "repeat with --end-retained if their addresses may go",
    _E.NODE_ALIVE: "stop or terminate the instance, or repeat with --force and a --reason",
    _E.UNAVAILABLE: "see `berth status`: bus, store, journal or cloud does not answer",
    _E.STORAGE_FULL: "give the store or the journal more room, as the text says",
    _E.BUSY: "wait: the servers are full and the runtime asks again",
    _E.STOCK_EMPTY: "wait some seconds; then see `berth node list` for the node's problem",
    _E.SUBNET_FULL: "free addresses, or add a subnet of its zone; see `berth subnet list`",
    _E.QUOTA_REACHED: "move pods to another node, or use an instance type with more ENIs",
    _E.MOVING: "wait: the address is on its way to this node",
    _E.CLUSTER_CHANGING: "wait: `berth status` tells how far it is",
    _E.HOLDER_ALIVE: "wait for the old pod's end; if its node is gone, stop the instance",
    _E.EPOCH_LOST: "wait: the lease book is being rebuilt by itself",
    _E.NOT_REGISTERED: "wait: the node's agent registers again by itself",
    _E.POD_UNKNOWN: "wait until the node's agent has seen the pod; look whether it exists",
    _E.INTERNAL: "report it: the service's log has the traceback",
}


def advice(code: str) -> str:
    """For codes of newer services too, which may not be known here."""
    try:
        return ADVICE[ErrorCode(code)]
    except ValueError:
        return "see the detail"
