"""Which CNI error code the runtime sees for each of our codes, and the text that carries it.

1 to 99 mean what the specification says, 100 and up are ours. Code 3 is never used: it tells
the runtime that no DEL is needed.
"""

from __future__ import annotations

import json
from enum import IntEnum
from typing import Final

from services.node_agent.domain.requests import PodsCutOff
from shared.errors import BerthError, ErrorCode, InvalidInput, TryLater

NEWEST_VERSION: Final = "1.1.0"


class CniCode(IntEnum):
    """Error codes of the CNI specification 1.1.0, then our own."""

    INCOMPATIBLE_VERSION = 1
    BAD_ENVIRONMENT = 4
    IO_FAILURE = 5
    NOT_JSON = 6
    BAD_CONFIGURATION = 7
    SAME_NAMESPACE = 8
    TRY_AGAIN_LATER = 11
    NOT_AVAILABLE = 50
    LIMITED_CONNECTIVITY = 51
    INTERNAL = 100
    INVALID_INPUT = 101
    NOT_FOUND = 102
    STALE = 103
    NOT_AUTHORISED = 104
    LEASE_IN_USE = 105
    WRONG_SUBNET = 106
    FIXED_IP_NOT_SUPPORTED = 107
    CLOUD_REFUSED = 108
    CLUSTER_NOT_ENABLED = 109
    CANNOT_CHANGE = 110
    KUBERNETES_UNSUITED = 111
    SUBNET_IN_USE = 112
    WRONG_VPC = 113
    NO_SUBNET_IN_ZONE = 114
    PODS_EXIST = 115
    LEASES_RETAINED = 116
    NODE_ALIVE = 117


CNI_CODE: Final = {
    ErrorCode.INVALID_INPUT: CniCode.INVALID_INPUT,
    ErrorCode.NOT_FOUND: CniCode.NOT_FOUND,
    ErrorCode.STALE: CniCode.STALE,
    ErrorCode.NOT_AUTHORISED: CniCode.NOT_AUTHORISED,
    ErrorCode.LEASE_IN_USE: CniCode.LEASE_IN_USE,
    ErrorCode.WRONG_SUBNET: CniCode.WRONG_SUBNET,
    ErrorCode.FIXED_IP_NOT_SUPPORTED: CniCode.FIXED_IP_NOT_SUPPORTED,
    ErrorCode.CLOUD_REFUSED: CniCode.CLOUD_REFUSED,
    ErrorCode.CLUSTER_NOT_ENABLED: CniCode.CLUSTER_NOT_ENABLED,
    ErrorCode.CANNOT_CHANGE: CniCode.CANNOT_CHANGE,
    ErrorCode.KUBERNETES_UNSUITED: CniCode.KUBERNETES_UNSUITED,
    ErrorCode.SUBNET_IN_USE: CniCode.SUBNET_IN_USE,
    ErrorCode.WRONG_VPC: CniCode.WRONG_VPC,
    ErrorCode.NO_SUBNET_IN_ZONE: CniCode.NO_SUBNET_IN_ZONE,
    ErrorCode.PODS_EXIST: CniCode.PODS_EXIST,
    ErrorCode.LEASES_RETAINED: CniCode.LEASES_RETAINED,
    ErrorCode.NODE_ALIVE: CniCode.NODE_ALIVE,
    ErrorCode.UNAVAILABLE: CniCode.TRY_AGAIN_LATER,
    ErrorCode.STORAGE_FULL: CniCode.TRY_AGAIN_LATER,
    ErrorCode.BUSY: CniCode.TRY_AGAIN_LATER,
    ErrorCode.STOCK_EMPTY: CniCode.TRY_AGAIN_LATER,
    ErrorCode.SUBNET_FULL: CniCode.TRY_AGAIN_LATER,
    ErrorCode.QUOTA_REACHED: CniCode.TRY_AGAIN_LATER,
    ErrorCode.MOVING: CniCode.TRY_AGAIN_LATER,
    ErrorCode.CLUSTER_CHANGING: CniCode.TRY_AGAIN_LATER,
    ErrorCode.HOLDER_ALIVE: CniCode.TRY_AGAIN_LATER,
    ErrorCode.EPOCH_LOST: CniCode.TRY_AGAIN_LATER,
    ErrorCode.NOT_REGISTERED: CniCode.TRY_AGAIN_LATER,
    ErrorCode.POD_UNKNOWN: CniCode.TRY_AGAIN_LATER,
    ErrorCode.INTERNAL: CniCode.INTERNAL,
}


class BadCall(InvalidInput):
    """Raised when the runtime's call itself is not as the CNI specification asks."""

    def __init__(self, cni_code: CniCode, detail: str, *, cni_version: str) -> None:
        super().__init__(detail)
        self.cni_code = cni_code
        self.cni_version = cni_version


def code_of(error: BerthError, *, is_status: bool = False) -> CniCode:
    """The CNI code of an error; STATUS knows only 50 and 51: no ADD can be served."""
    if isinstance(error, BadCall):
        return error.cni_code
    if is_status:
        is_cut_off = isinstance(error, PodsCutOff)
        return CniCode.LIMITED_CONNECTIVITY if is_cut_off else CniCode.NOT_AVAILABLE
    if isinstance(error, TryLater):
        return CniCode.TRY_AGAIN_LATER
    return CNI_CODE[error.code]


def error_result(code: CniCode, message: str, details: str, *, cni_version: str) -> str:
    """The JSON a plugin prints on stdout before it exits non-zero."""
    return json.dumps(
        {"cniVersion": cni_version, "code": int(code), "msg": message, "details": details}
    )
