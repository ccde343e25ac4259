"""The parameters of each action, read once at the edge and refused in the API's own codes."""

from __future__ import annotations

import json
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_pascal
from pydantic_core import ErrorDetails

from services.vpc_simulator.model.failures import ApiFailure, Code

P = TypeVar("P", bound="Parameters")


class Parameters(BaseModel):
    """Named as the API names them (`VpcId`), strict in type, nothing unknown."""

    model_config = ConfigDict(
        alias_generator=to_pascal, extra="forbid", strict=True, frozen=True
    )


class Idempotent(Parameters):
    """Of a call that may be repeated under its token."""

    client_token: str | None = None


def _flag(value: object) -> object:
    """The API's own example sends ``"Primary":"true"``; both spellings are taken."""
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return value


Flag = Annotated[bool, BeforeValidator(_flag)]
Count = Annotated[int, Field(ge=0)]


class Filter(Parameters):
    name: str
    values: list[str]


class Tag(Parameters):
    key: str
    value: str


class AddressParameter(Parameters):
    """The API's PrivateIpAddressSpecification, as a caller may send it."""

    private_ip_address: str
    primary: Flag = False
    public_ip_address: str | None = None
    address_id: str | None = None
    description: str = ""
    is_wan_ip_blocked: bool | None = None
    state: str | None = None
    qos_level: str | None = None


class DescribeSubnets(Parameters):
    subnet_ids: list[str] = []
    filters: list[Filter] = []
    offset: str = "0"  # strings: so the API has it
    limit: str = "20"
    max_results: int | None = None
    next_token: str | None = None


class DescribeNetworkInterfaces(Parameters):
    network_interface_ids: list[str] = []
    filters: list[Filter] = []
    offset: int = 0
    limit: int = 20


class DescribeNetworkInterfaceLimit(Parameters):
    instance_id: str


class CreateNetworkInterface(Idempotent):
    vpc_id: str
    subnet_id: str
    network_interface_name: str
    network_interface_description: str = ""
    secondary_private_ip_address_count: Count = 0
    private_ip_addresses: list[AddressParameter] = []
    security_group_ids: list[str] = []
    tags: list[Tag] = []
    qos_level: str = "DEFAULT"
    ipv6_addresses: list[object] = []
    ipv6_address_count: Count = 0
    trunking_flag: str = "Disable"
    is_rdma: bool = False
    termination_protection: bool = False
    traffic_protection: bool = False


class AttachNetworkInterface(Idempotent):
    network_interface_id: str
    instance_id: str
    attach_type: int = 0


class DetachNetworkInterface(Idempotent):
    network_interface_id: str
    instance_id: str


class DeleteNetworkInterface(Parameters):
    network_interface_id: str


class AssignPrivateIpAddresses(Idempotent):
    network_interface_id: str
    private_ip_addresses: list[AddressParameter] = []
    secondary_private_ip_address_count: Count = 0
    qos_level: str = "DEFAULT"


class UnassignPrivateIpAddresses(Parameters):
    network_interface_id: str
    private_ip_addresses: list[AddressParameter]
    instance_id: str | None = None


class MigratePrivateIpAddress(Parameters):
    source_network_interface_id: str
    destination_network_interface_id: str
    private_ip_address: str


class DescribeVpcTaskResult(Parameters):
    task_id: str


class DescribeVpcPrivateIpAddresses(Parameters):
    vpc_id: str
    private_ip_addresses: list[str]


class CreateReserveIpAddresses(Idempotent):
    vpc_id: str
    ip_addresses: list[str] = []
    ip_address_count: Count = 0
    subnet_id: str = ""
    name: str = ""
    description: str = ""
    tags: list[Tag] = []


class DescribeReserveIpAddresses(Parameters):
    reserve_ip_ids: list[str] = []
    filters: list[Filter] = []
    offset: int = 0
    limit: int = 20


class DeleteReserveIpAddresses(Parameters):
    vpc_id: str
    reserve_ip_ids: list[str]


class DescribeUsedIpAddress(Parameters):
    vpc_id: str
    subnet_id: str = ""
    ip_addresses: list[str] = []
    filters: list[Filter] = []
    offset: int = 0
    limit: int = 20


class CreateAndAttachNetworkInterface(CreateNetworkInterface):
    instance_id: str
    attach_type: int = 0


class MigrateNetworkInterface(Parameters):
    network_interface_id: str
    source_instance_id: str
    destination_instance_id: str
    attach_type: int = 0


class ModifyNetworkInterfaceAttribute(Parameters):
    network_interface_id: str
    network_interface_name: str | None = None
    network_interface_description: str | None = None
    security_group_ids: list[str] | None = None
    trunking_flag: str = "Disable"


class AssociateNetworkInterfaceSecurityGroups(Parameters):
    network_interface_ids: list[str]
    security_group_ids: list[str]


class DisassociateNetworkInterfaceSecurityGroups(AssociateNetworkInterfaceSecurityGroups):
    pass


class AssignIpv6Addresses(Idempotent):
    network_interface_id: str
    ipv6_addresses: list[object] = []
    ipv6_address_count: Count = 0


class UnassignIpv6Addresses(Parameters):
    network_interface_id: str
    ipv6_addresses: list[object]


class AllocateAddresses(Idempotent):
    address_count: int = 1
    internet_service_provider: str = "BGP"
    internet_charge_type: str = "TRAFFIC_POSTPAID_BY_HOUR"
    internet_max_bandwidth_out: int = 1
    address_type: str = "EIP"
    tags: list[Tag] = []
    address_name: str = ""
    bandwidth_package_id: str | None = None


class AssociateAddress(Parameters):
    address_id: str
    instance_id: str | None = None
    network_interface_id: str | None = None
    private_ip_address: str | None = None
    eip_direct_connection: bool = False


class DisassociateAddress(Parameters):
    address_id: str
    reallocate_normal_public_ip: bool = False


class ReleaseAddresses(Parameters):
    address_ids: list[str]


class DescribeAddresses(Parameters):
    address_ids: list[str] = []
    filters: list[Filter] = []
    offset: int = 0
    limit: int = 20


class DescribeAddressQuota(Parameters):
    pass


class DescribeTaskResult(Parameters):
    task_id: int


class DescribeInstances(Parameters):
    instance_ids: list[str] = []
    filters: list[Filter] = []
    offset: int = 0
    limit: int = 20


def read(parameters: type[P], body: bytes) -> P:
    """The parameters in a body. Refuses with the code that the API has for each mistake."""
    try:
        return parameters.model_validate_json(body or b"{}")
    except ValidationError as error:
        if not _is_utf8(body):
            raise ApiFailure(Code.NOT_UTF8, "A value is not UTF-8 text.") from error
        raise _refusal(error.errors(include_url=False)[0]) from error


def _is_utf8(body: bytes) -> bool:
    """Escapes of half a character (``\\ud800``) are JSON, and no text."""
    try:
        json.dumps(json.loads(body.decode()), ensure_ascii=False).encode()
    except UnicodeError:
        return False
    except ValueError:
        return True  # it is no JSON at all
    return True


def _refusal(detail: ErrorDetails) -> ApiFailure:
    path = ".".join(str(part) for part in detail["loc"])
    in_filters = detail["loc"][:1] in (("Filters",), ("Tags",))
    match detail["type"]:
        case "missing":
            return ApiFailure(Code.MISSING_PARAMETER, f"The parameter `{path}` is missing.")
        case "extra_forbidden":
            return ApiFailure(Code.UNKNOWN_PARAMETER, f"The parameter `{path}` is unknown.")
        case "json_invalid":
            return ApiFailure(Code.INVALID_PARAMETER, "The body is not JSON.")
        case "model_type" | "dict_type" if in_filters:
            return ApiFailure(Code.FILTER_NOT_DICT, f"`{path}` is not an object.")
        case "list_type" if in_filters and path.endswith("Values"):
            return ApiFailure(Code.FILTER_VALUES_NOT_LIST, f"`{path}` is not a list.")
        case "greater_than_equal":
            return ApiFailure(Code.RANGE, f"The value of `{path}` must not be negative.")
    return ApiFailure(Code.INVALID_PARAMETER, f"The parameter `{path}`: {detail['msg']}.")
