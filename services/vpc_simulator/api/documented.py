"""Every error that the API documents for an action, and what makes this cloud answer with it.

An error without a cause here (`ON_DEMAND`) is trouble of the real cloud's own insides; it is
answered when it is asked for as a fault (`POST /admin/faults`, kind `refuse`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.vpc_simulator.api.actions import ACTIONS
from services.vpc_simulator.model.failures import Code

_C = Code

OF_EVERY_ACTION: Final = (_C.REQUEST_LIMIT_EXCEEDED, _C.INTERNAL_ERROR)
_IDEMPOTENT: Final = (_C.IDEMPOTENT_MISMATCH, _C.IDEMPOTENT_PROCESSING)
_CREATE: Final = (
    _C.NET_DETECT_TIMEOUT,
    _C.FILTER_INVALID_KEY,
    _C.FILTER_NOT_DICT,
    _C.INVALID_VALUE,
    _C.VALUE_LIMIT_EXCEEDED,
    _C.MALFORMED,
    _C.RANGE,
    _C.RESERVED,
    _C.TOO_LONG,
    _C.LIMIT_EXCEEDED,
    _C.ACTION_LIMITED,
    _C.ENI_LIMIT_EXCEEDED,
    _C.MISSING_PARAMETER,
    _C.RESOURCE_IN_USE,
    _C.RESOURCE_INSUFFICIENT,
    _C.SUBNET_INSUFFICIENT,
    _C.RESOURCE_NOT_FOUND,
    _C.UNSUPPORTED,
    *_IDEMPOTENT,
    _C.RESOURCE_MISMATCH,
)
_DESCRIBE: Final = (
    _C.MODULE_ERROR,
    _C.COEXIST,
    _C.FILTER_INVALID_KEY,
    _C.FILTER_NOT_DICT,
    _C.FILTER_VALUES_NOT_LIST,
    _C.VALUE_LIMIT_EXCEEDED,
    _C.MALFORMED,
    _C.RANGE,
    _C.NOT_UTF8,
    _C.ACTION_LIMITED,
    _C.RESOURCE_NOT_FOUND,
    _C.UNSUPPORTED,
)
_PAGED: Final = (
    _C.COEXIST,
    _C.FILTER_INVALID_KEY,
    _C.VALUE_LIMIT_EXCEEDED,
    _C.MALFORMED,
    _C.RANGE,
)
_GROUPS: Final = (
    _C.VALUE_LIMIT_EXCEEDED,
    _C.MALFORMED,
    _C.LIMIT_EXCEEDED,
    _C.RESOURCE_NOT_FOUND,
    _C.UNSUPPORTED,
)
_IPV6: Final = (_C.MALFORMED, _C.RESOURCE_NOT_FOUND, _C.UNSUPPORTED)
_EIP: Final = (_C.EIP_TASK_RUNNING, _C.EIP_STATUS_NOT_PERMIT)

DOCUMENTED: Final[Mapping[str, tuple[Code, ...]]] = {
    "CreateNetworkInterface": _CREATE,
    "CreateAndAttachNetworkInterface": _CREATE,
    "AttachNetworkInterface": (
        _C.MODULE_ERROR,
        _C.MALFORMED,
        _C.LIMIT_EXCEEDED,
        _C.ACTION_LIMITED,
        _C.RESOURCE_NOT_FOUND,
        _C.UNSUPPORTED,
        *_IDEMPOTENT,
        _C.ALREADY_ATTACHED,
        _C.INVALID_STATE,
        _C.INSTANCE_STATE,
        _C.INSTANCE_FAMILY,
        _C.VPC_MISMATCH,
        _C.ZONE_MISMATCH,
    ),
    "DetachNetworkInterface": (
        _C.MODULE_ERROR,
        _C.MALFORMED,
        _C.ACTION_LIMITED,
        _C.RESOURCE_NOT_FOUND,
        _C.UNSUPPORTED,
        *_IDEMPOTENT,
        _C.HAVIP,
        _C.INVALID_STATE,
    ),
    "DeleteNetworkInterface": (
        _C.MALFORMED,
        _C.ACTION_LIMITED,
        _C.RESOURCE_IN_USE,
        _C.RESOURCE_NOT_FOUND,
        _C.UNSUPPORTED,
        _C.INVALID_STATE,
    ),
    "AssignPrivateIpAddresses": (
        _C.NET_DETECT_TIMEOUT,
        _C.DUPLICATE_PARA,
        _C.VALUE_LIMIT_EXCEEDED,
        _C.MALFORMED,
        _C.RANGE,
        _C.RESERVED,
        _C.LIMIT_EXCEEDED,
        _C.ACTION_LIMITED,
        _C.MISSING_PARAMETER,
        _C.RESOURCE_IN_USE,
        _C.RESOURCE_INSUFFICIENT,
        _C.SUBNET_INSUFFICIENT,
        _C.RESOURCE_NOT_FOUND,
        _C.UNSUPPORTED,
        *_IDEMPOTENT,
        _C.INVALID_STATE,
        _C.MUTEX,
        _C.RESOURCE_MISMATCH,
    ),
    "UnassignPrivateIpAddresses": (
        _C.DUPLICATE_PARA,
        _C.VALUE_LIMIT_EXCEEDED,
        _C.MALFORMED,
        _C.ACTION_LIMITED,
        _C.RESOURCE_NOT_FOUND,
        _C.UNSUPPORTED,
        _C.NOT_ATTACHED,
        _C.INVALID_STATE,
        _C.MUTEX,
    ),
    "MigratePrivateIpAddress": (
        _C.MALFORMED,
        _C.LIMIT_EXCEEDED,
        _C.RESOURCE_NOT_FOUND,
        _C.ATTACHMENT_NOT_FOUND,
        _C.PRIMARY_IP,
        _C.UNSUPPORTED,
        _C.MUTEX,
        _C.UNSUPPORTED_PRIMARY_IP,
    ),
    "MigrateNetworkInterface": (
        _C.MALFORMED,
        _C.LIMIT_EXCEEDED,
        _C.RESOURCE_NOT_FOUND,
        _C.UNSUPPORTED,
        _C.NOT_ATTACHED,
        _C.VPC_MISMATCH,
    ),
    "ModifyNetworkInterfaceAttribute": (
        _C.INVALID_VALUE,
        _C.MALFORMED,
        _C.TOO_LONG,
        _C.LIMIT_EXCEEDED,
        _C.RESOURCE_NOT_FOUND,
        _C.UNSUPPORTED,
    ),
    "AssociateNetworkInterfaceSecurityGroups": _GROUPS,
    "DisassociateNetworkInterfaceSecurityGroups": _GROUPS,
    "AssignIpv6Addresses": _IPV6,
    "UnassignIpv6Addresses": _IPV6,
    "DescribeNetworkInterfaces": _DESCRIBE,
    "DescribeSubnets": (*_DESCRIBE, _C.EMPTY),
    "DescribeNetworkInterfaceLimit": (
        _C.MODULE_ERROR,
        _C.INTERNAL_SERVER_ERROR,
        _C.INVALID_INSTANCE_ID_NOT_FOUND,
        _C.MALFORMED,
        _C.ACTION_LIMITED,
        _C.RESOURCE_NOT_FOUND,
    ),
    "DescribeVpcTaskResult": (
        _C.MODULE_ERROR,
        _C.INVALID_VALUE,
        _C.RESOURCE_NOT_FOUND,
        _C.UNAUTHORIZED_OPERATION,
        _C.UNSUPPORTED,
    ),
    "DescribeVpcPrivateIpAddresses": (
        _C.VALUE_LIMIT_EXCEEDED,
        _C.MALFORMED,
        _C.RESOURCE_NOT_FOUND,
    ),
    "DescribeUsedIpAddress": (*_PAGED, _C.RESOURCE_NOT_FOUND),
    "DescribeInstances": (
        _C.COEXIST,
        _C.INVALID_FILTER,
        _C.INVALID_INSTANCE_ID_MALFORMED,
        _C.INVALID_INSTANCE_ID_NOT_FOUND,
        _C.VALUE_LIMIT_EXCEEDED,
        _C.RANGE,
    ),
    "CreateReserveIpAddresses": (
        _C.DUPLICATE_PARA,
        _C.VALUE_LIMIT_EXCEEDED,
        _C.MALFORMED,
        _C.RANGE,
        _C.RESERVED,
        _C.TOO_LONG,
        _C.LIMIT_EXCEEDED,
        _C.MISSING_PARAMETER,
        _C.RESOURCE_IN_USE,
        _C.SUBNET_INSUFFICIENT,
        _C.RESOURCE_NOT_FOUND,
        *_IDEMPOTENT,
        _C.RESOURCE_MISMATCH,
    ),
    "DescribeReserveIpAddresses": _PAGED,
    "DeleteReserveIpAddresses": (
        _C.MALFORMED,
        _C.MISSING_PARAMETER,
        _C.RESOURCE_IN_USE,
        _C.RESOURCE_NOT_FOUND,
    ),
    "AllocateAddresses": (
        _C.EIP_QUOTA,
        _C.EIP_DAILY,
        _C.BALANCE,
        _C.BANDWIDTH_RANGE,
        _C.DELIVERY_FAILED,
        *_IDEMPOTENT,
    ),
    "AssociateAddress": (
        *_EIP,
        _C.EIP_NOT_FOUND,
        _C.EIP_BLOCKED,
        _C.ENI_ID_NOT_FOUND,
        _C.INVALID_INSTANCE_ID_NOT_FOUND,
        _C.INSTANCE_HAS_EIP,
        _C.ADDRESS_HAS_EIP,
        _C.PARAMETER_CONFLICT,
        _C.ADDRESS_NOT_MATCH,
        _C.VALUE_ENI_NOT_FOUND,
        _C.COMBINATION,
        _C.INSTANCE_EIP_QUOTA,
        _C.EIP_ARREARS,
        _C.TASK_FAILED,
    ),
    "DisassociateAddress": (*_EIP, _C.EIP_STATUS, _C.EIP_NOT_FOUND),
    "ReleaseAddresses": (*_EIP, _C.EIP_STATE, _C.EIP_NOT_FOUND, _C.MISSING_PARAMETER),
    "DescribeAddresses": (*_PAGED, _C.EIP_NOT_FOUND),
    "DescribeAddressQuota": (),
    "DescribeTaskResult": (_C.INVALID_PARAMETER, _C.RESOURCE_NOT_FOUND),
}

# Trouble of the cloud's own, or of people and products that there are none of here.
ON_DEMAND: Final = frozenset(
    {
        _C.INTERNAL_ERROR,
        _C.MODULE_ERROR,
        _C.INTERNAL_SERVER_ERROR,
        _C.NET_DETECT_TIMEOUT,
        _C.RESOURCE_INSUFFICIENT,
        _C.TASK_FAILED,
        _C.DELIVERY_FAILED,
        _C.BALANCE,
        _C.EIP_ARREARS,
        _C.EIP_BLOCKED,
        _C.INSTANCE_EIP_QUOTA,
        _C.HAVIP,
        _C.INSTANCE_STATE,
        _C.UNAUTHORIZED_OPERATION,
        _C.UNSUPPORTED_PRIMARY_IP,
        _C.VALUE_ENI_NOT_FOUND,
    }
)
# Codes that have a cause elsewhere, and none in these actions.
_ON_DEMAND_IN: Final = frozenset(
    {
        ("AssignPrivateIpAddresses", _C.RESOURCE_MISMATCH),
        ("DescribeNetworkInterfaces", _C.RESOURCE_NOT_FOUND),
        ("DescribeNetworkInterfaces", _C.UNSUPPORTED),
        ("DescribeSubnets", _C.RESOURCE_NOT_FOUND),
        ("DescribeSubnets", _C.UNSUPPORTED),
        ("DescribeVpcTaskResult", _C.UNSUPPORTED),
        ("DisassociateAddress", _C.EIP_STATUS_NOT_PERMIT),
        ("ReleaseAddresses", _C.EIP_STATUS_NOT_PERMIT),
    }
)

_CAUSES: Final[Mapping[Code, str]] = {
    _C.REQUEST_LIMIT_EXCEEDED: "the account is over the action's rate, at the gateway",
    _C.ACTION_LIMITED: "the account is over the action's rate, by the module's word",
    _C.ADDRESS_HAS_EIP: "the address has an EIP",
    _C.ADDRESS_NOT_MATCH: "the ENI does not have the address",
    _C.ALREADY_ATTACHED: "the ENI is on an instance",
    _C.ATTACHMENT_NOT_FOUND: "one of the ENIs is on no instance",
    _C.BANDWIDTH_RANGE: "the bandwidth is not 1 to 2000 Mbit/s",
    _C.COEXIST: "ids and filters together",
    _C.COMBINATION: "neither an instance, nor an ENI with an address",
    _C.DUPLICATE_PARA: "an address is named twice",
    _C.EIP_DAILY: "the account has applied for as many as it may in a day",
    _C.EIP_NOT_FOUND: "there is no such EIP of this account",
    _C.EIP_QUOTA: "the account has as many as it may",
    _C.EIP_STATE: "an EIP is bound",
    _C.EIP_STATUS: "the EIP is not bound",
    _C.EIP_STATUS_NOT_PERMIT: "the EIP is bound",
    _C.EIP_TASK_RUNNING: "another task of the EIP is running",
    _C.EMPTY: "a filter has no values",
    _C.ENI_ID_NOT_FOUND: "there is no such ENI",
    _C.ENI_LIMIT_EXCEEDED: "the VPC has as many ENIs as it may",
    _C.FILTER_INVALID_KEY: "a filter of that name does not exist, or a tag has no key",
    _C.FILTER_NOT_DICT: "a filter or a tag is not an object",
    _C.FILTER_VALUES_NOT_LIST: "a filter's values are not a list",
    _C.IDEMPOTENT_MISMATCH: "the ClientToken was used with other parameters",
    _C.IDEMPOTENT_PROCESSING: "a call with the ClientToken is being served",
    _C.INSTANCE_FAMILY: "the instance has no extended ENIs",
    _C.INSTANCE_HAS_EIP: "the instance has an EIP",
    _C.INVALID_FILTER: "a filter of that name does not exist",
    _C.INVALID_INSTANCE_ID_MALFORMED: "the value cannot be an instance's id",
    _C.INVALID_INSTANCE_ID_NOT_FOUND: "there is no such instance",
    _C.INVALID_PARAMETER: "a parameter is of another type",
    _C.INVALID_STATE: "the ENI is changing",
    _C.INVALID_VALUE: "a value is not one of those that are allowed",
    _C.LIMIT_EXCEEDED: "more than the quota of the instance, ENI or subnet allows",
    _C.MALFORMED: "a value cannot be an id, an address or a number",
    _C.MISSING_PARAMETER: "what the action needs is not said",
    _C.MUTEX: "another task of the ENI is running",
    _C.NOT_ATTACHED: "the ENI is not on that instance",
    _C.NOT_UTF8: "a value is not text",
    _C.PARAMETER_CONFLICT: "an instance and an ENI together",
    _C.PRIMARY_IP: "the address is primary",
    _C.RANGE: "an address outside of the subnet, or a page outside of 1 to 100",
    _C.RESERVED: "the address is the subnet's own",
    _C.RESOURCE_IN_USE: "the address, or the ENI, is in use or kept",
    _C.RESOURCE_MISMATCH: "the subnet is of another VPC",
    _C.RESOURCE_NOT_FOUND: "there is no such resource",
    _C.SUBNET_INSUFFICIENT: "the subnet has too few free addresses",
    _C.TOO_LONG: "a name or description is too long",
    _C.UNSUPPORTED: "what is asked for is not possible with this resource",
    _C.VALUE_LIMIT_EXCEEDED: "too many values in one call",
    _C.VPC_MISMATCH: "the ENI and the instance are in two VPCs",
    _C.ZONE_MISMATCH: "the ENI and the instance are in two zones",
}


def errors_of(action: str) -> tuple[Code, ...]:
    """Those of every action among them."""
    return (*OF_EVERY_ACTION, *DOCUMENTED[action])


def cause_of(action: str, code: Code) -> str | None:
    """What makes this cloud answer so; None: only a fault that is asked for does."""
    if code in ON_DEMAND or (action, code) in _ON_DEMAND_IN:
        return None
    return _CAUSES[code]


def table() -> str:
    """docs/simulator.md."""
    lines = [
        "# The simulated cloud: every action, and every error that it answers with",
        "",
        "Written by `make generate` from `services/vpc_simulator/api/documented.py`;"
        " `tests/service/simulator/test_documented_errors.py`",
        "has both clients of the official SDK, the blocking one and the asynchronous one, get"
        " each row and each action's success.",
        "",
        "*on demand*: trouble of the real cloud's own insides; here it is answered when it is"
        " asked for as a fault",
        "(`POST /admin/faults` with kind `refuse`). Calls that are not signed well, or name an"
        " unknown action, version,",
        "region or parameter are refused as 4.1 of the API's pages tells"
        " (`tests/service/simulator/test_gateway.py`).",
        "",
        "Looks (`Describe…` of instances, subnets, ENIs, addresses and tasks) tell on demand"
        " what is not so, by faults of the",
        "kinds `stale` (how things were when the fault was asked for), `premature` (what is"
        " under way as if it were done) and",
        "`gaps` (some ENIs and addresses are left out). What is stays as it is, and changes are"
        " judged by that",
        "(`tests/service/simulator/test_lies.py`).",
    ]
    for name, action in ACTIONS.items():
        lines += [
            "",
            f"## {name}",
            "",
            f"{action.service}, {action.rate_per_s} calls a second of an account.",
            "",
            "| code | when |",
            "|---|---|",
            *(f"| `{it}` | {cause_of(name, it) or '*on demand*'} |" for it in errors_of(name)),
        ]
    return "\n".join(lines) + "\n"
