"""The cloud's error codes, by what the caller can do: the longest known prefix decides."""

from __future__ import annotations

from typing import Final

from shared.cloud.errors import (
    CloudAway,
    CloudBusy,
    CloudDenied,
    CloudDetached,
    CloudError,
    CloudLimit,
    CloudNotFound,
    CloudSubnetFull,
    CloudTaken,
    CloudThrottled,
    CloudVpcFull,
)

_KINDS: Final[dict[str, type[CloudError]]] = {
    "RequestLimitExceeded": CloudThrottled,
    "LimitExceeded.ActionLimited": CloudThrottled,
    "InternalError": CloudAway,
    "InternalServerError": CloudAway,
    "ServerNetworkError": CloudAway,
    "ClientNetworkError": CloudAway,
    "FailedOperation.NetDetectTimeOut": CloudAway,
    "UnsupportedOperation.MutexOperationTaskRunning": CloudBusy,
    "UnsupportedOperation.IdempotentProcessing": CloudBusy,
    "UnsupportedOperation.InvalidState": CloudBusy,
    "OperationDenied.MutexTaskRunning": CloudBusy,
    "ResourceNotFound": CloudNotFound,
    "InvalidInstanceId.NotFound": CloudNotFound,
    "UnsupportedOperation.AttachmentNotFound": CloudNotFound,
    "ResourceInsufficient": CloudSubnetFull,
    "LimitExceeded": CloudLimit,
    "LimitExceeded.NetworkInterfaceLimitExceeded": CloudVpcFull,
    "InvalidParameterValue.LimitExceeded": CloudLimit,
    "ResourceInUse": CloudTaken,
    "UnsupportedOperation.AttachmentAlreadyExists": CloudTaken,
    "UnauthorizedOperation.AttachmentNotFound": CloudDetached,
}


def error_of_code(action: str, code: str, message: str, request_id: str) -> CloudError:
    """What a code stands for; an unknown one is final, so that nobody repeats it for ever."""
    prefix = code
    while prefix:
        if kind := _KINDS.get(prefix):
            return kind(action, code, message, request_id)
        prefix = prefix.rpartition(".")[0]
    return CloudDenied(action, code, message, request_id)
