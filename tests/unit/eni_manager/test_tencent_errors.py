"""What each of the cloud's error codes lets a caller do."""

from __future__ import annotations

import pytest

from services.eni_manager.adapters.tencent_errors import error_of_code
from shared.cloud.errors import (
    RETRIED,
    CloudAway,
    CloudBusy,
    CloudDenied,
    CloudError,
    CloudLimit,
    CloudNotFound,
    CloudSubnetFull,
    CloudTaken,
    CloudThrottled,
    CloudVpcFull,
)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("RequestLimitExceeded", CloudThrottled),
        ("RequestLimitExceeded.UinLimitExceeded", CloudThrottled),
        ("LimitExceeded.ActionLimited", CloudThrottled),
        ("InternalError", CloudAway),
        ("InternalError.ModuleError", CloudAway),
        ("FailedOperation.NetDetectTimeOut", CloudAway),
        ("UnsupportedOperation.MutexOperationTaskRunning", CloudBusy),
        ("UnsupportedOperation.IdempotentProcessing", CloudBusy),
        ("ResourceNotFound", CloudNotFound),
        ("InvalidInstanceId.NotFound", CloudNotFound),
        ("ResourceInsufficient.Subnet", CloudSubnetFull),
        ("LimitExceeded", CloudLimit),
        ("LimitExceeded.NetworkInterfaceLimitExceeded", CloudVpcFull),
        ("ResourceInUse", CloudTaken),
        ("UnsupportedOperation.ZoneMismatch", CloudDenied),
        ("UnsupportedOperation", CloudDenied),
        ("AuthFailure.SignatureFailure", CloudDenied),
        ("InvalidParameterValue.Reserved", CloudDenied),
        ("SomethingNew.Tomorrow", CloudDenied),
    ],
)
def test_a_code_is_of_the_kind_that_its_documentation_asks_for(
    code: str, kind: type[CloudError]
) -> None:
    error = error_of_code("Action", code, "because", "request-1")

    assert type(error) is kind
    assert str(error) == f"Action: {code}: because (request request-1)"


@pytest.mark.parametrize(
    "code",
    [
        "LimitExceeded",
        "ResourceInsufficient.Subnet",
        "UnsupportedOperation.ZoneMismatch",
        "UnsupportedOperation.VpcMismatch",
    ],
)
def test_what_cannot_succeed_unchanged_is_not_repeated(code: str) -> None:
    assert not isinstance(error_of_code("Action", code, "", ""), RETRIED)
