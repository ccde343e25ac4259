"""The cloud's own refusals: the codes that cross the API, spelled as its clients know them."""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """Error codes of the VPC and CVM APIs that this cloud answers with."""

    INVALID_AUTHORIZATION = "AuthFailure.InvalidAuthorization"
    SECRET_ID_NOT_FOUND = "AuthFailure.SecretIdNotFound"
    SIGNATURE_EXPIRE = "AuthFailure.SignatureExpire"
    SIGNATURE_FAILURE = "AuthFailure.SignatureFailure"
    TOKEN_FAILURE = "AuthFailure.TokenFailure"

    ACTION_LIMITED = "LimitExceeded.ActionLimited"
    INTERNAL_ERROR = "InternalError"
    INVALID_ACTION = "InvalidAction"
    INVALID_PARAMETER = "InvalidParameter"
    INVALID_REQUEST = "InvalidRequest"
    MISSING_PARAMETER = "MissingParameter"
    NO_SUCH_VERSION = "NoSuchVersion"
    REQUEST_LIMIT_EXCEEDED = "RequestLimitExceeded"
    REQUEST_SIZE_LIMIT_EXCEEDED = "RequestSizeLimitExceeded"
    UNKNOWN_PARAMETER = "UnknownParameter"
    UNSUPPORTED_PROTOCOL = "UnsupportedProtocol"
    UNSUPPORTED_REGION = "UnsupportedRegion"

    COEXIST = "InvalidParameter.Coexist"
    FILTER_INVALID_KEY = "InvalidParameter.FilterInvalidKey"
    FILTER_NOT_DICT = "InvalidParameter.FilterNotDict"
    FILTER_VALUES_NOT_LIST = "InvalidParameter.FilterValuesNotList"

    INVALID_VALUE = "InvalidParameterValue"
    DUPLICATE_PARA = "InvalidParameterValue.DuplicatePara"
    VALUE_LIMIT_EXCEEDED = "InvalidParameterValue.LimitExceeded"
    MALFORMED = "InvalidParameterValue.Malformed"
    RANGE = "InvalidParameterValue.Range"
    RESERVED = "InvalidParameterValue.Reserved"
    TOO_LONG = "InvalidParameterValue.TooLong"

    LIMIT_EXCEEDED = "LimitExceeded"
    ENI_LIMIT_EXCEEDED = "LimitExceeded.NetworkInterfaceLimitExceeded"
    RESOURCE_IN_USE = "ResourceInUse"
    SUBNET_INSUFFICIENT = "ResourceInsufficient.Subnet"
    RESOURCE_NOT_FOUND = "ResourceNotFound"
    INVALID_INSTANCE_ID_NOT_FOUND = "InvalidInstanceId.NotFound"
    INVALID_INSTANCE_ID_MALFORMED = "InvalidInstanceId.Malformed"
    INVALID_FILTER = "InvalidFilter"

    ATTACHMENT_NOT_FOUND = "UnauthorizedOperation.AttachmentNotFound"
    PRIMARY_IP = "UnauthorizedOperation.PrimaryIp"

    UNSUPPORTED = "UnsupportedOperation"
    ALREADY_ATTACHED = "UnsupportedOperation.AttachmentAlreadyExists"
    NOT_ATTACHED = "UnsupportedOperation.AttachmentNotFound"
    IDEMPOTENT_MISMATCH = "UnsupportedOperation.IdempotentParameterMismatch"
    IDEMPOTENT_PROCESSING = "UnsupportedOperation.IdempotentProcessing"
    INVALID_STATE = "UnsupportedOperation.InvalidState"
    MUTEX = "UnsupportedOperation.MutexOperationTaskRunning"
    INSTANCE_STATE = "UnsupportedOperation.ResourceIsInvalidState"
    INSTANCE_FAMILY = "UnsupportedOperation.UnsupportedInstanceFamily"
    EIP_NOT_FOUND = "InvalidAddressId.NotFound"
    EIP_BLOCKED = "InvalidAddressId.Blocked"
    EIP_STATUS = "InvalidAddressIdStatus.NotPermit"
    EIP_STATE = "InvalidAddressState"
    EIP_QUOTA = "AddressQuotaLimitExceeded"
    EIP_DAILY = "AddressQuotaLimitExceeded.DailyAllocate"
    BALANCE = "FailedOperation.BalanceInsufficient"
    TASK_FAILED = "FailedOperation.TaskFailed"
    NET_DETECT_TIMEOUT = "FailedOperation.NetDetectTimeOut"
    INSTANCE_HAS_EIP = "InvalidInstanceId.AlreadyBindEip"
    ENI_ID_NOT_FOUND = "InvalidNetworkInterfaceId.NotFound"
    PARAMETER_CONFLICT = "InvalidParameterConflict"
    BANDWIDTH_RANGE = "InvalidParameterValue.BandwidthOutOfRange"
    COMBINATION = "InvalidParameterValue.Combination"
    ADDRESS_NOT_MATCH = "InvalidParameterValue.PrivateIpAddressNotMatch"
    ADDRESS_HAS_EIP = "InvalidPrivateIpAddress.AlreadyBindEip"
    INSTANCE_EIP_QUOTA = "LimitExceeded.InstanceAddressQuota"
    EIP_ARREARS = "OperationDenied.AddressInArrears"
    EIP_TASK_RUNNING = "OperationDenied.MutexTaskRunning"
    EIP_STATUS_NOT_PERMIT = "UnsupportedOperation.AddressStatusNotPermit"
    DELIVERY_FAILED = "UnsupportedOperation.DeliveryFailed"
    MODULE_ERROR = "InternalError.ModuleError"
    HAVIP = "UnsupportedOperation.InstanceAssociateHavip"
    RESOURCE_MISMATCH = "UnsupportedOperation.ResourceMismatch"
    UNAUTHORIZED = "AuthFailure.UnauthorizedOperation"
    RESOURCE_INSUFFICIENT = "ResourceInsufficient"
    RESOURCE_UNAVAILABLE = "ResourceUnavailable"
    INTERNAL_SERVER_ERROR = "InternalServerError"
    EMPTY = "InvalidParameterValue.Empty"
    NOT_UTF8 = "InvalidParameterValue.NotUtf8EncodingError"
    VALUE_ENI_NOT_FOUND = "InvalidParameterValue.NetworkInterfaceNotFound"
    UNAUTHORIZED_OPERATION = "UnauthorizedOperation"
    UNSUPPORTED_PRIMARY_IP = "UnsupportedOperation.PrimaryIp"
    ZONE_MISMATCH = "UnsupportedOperation.ZoneMismatch"
    VPC_MISMATCH = "UnsupportedOperation.VpcMismatch"


class ApiFailure(Exception):
    """A call that the cloud refuses. Nothing has changed when it is raised."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def not_found(kind: str, name: str) -> ApiFailure:
    return ApiFailure(Code.RESOURCE_NOT_FOUND, f"The {kind} {name} does not exist.")
