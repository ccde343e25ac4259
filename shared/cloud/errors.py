"""How the cloud says no, by what the caller can do about it.

CloudError
├── CloudAway        no answer, or an internal error: maybe done, ask again
├── CloudThrottled   too many calls of this action: nothing was done, ask later
├── CloudBusy        another change runs on the object: nothing was done, ask later
├── CloudNotFound    no such object; to a deletion this is success
├── CloudSubnetFull  the subnet has no free address: another subnet may
├── CloudLimit       a quota is reached: of the instance or the ENI
│   └── CloudVpcFull of the VPC: no ENI can be made in it, by any node
├── CloudTaken       somebody else has the address; the ENI is attached (already)
├── CloudDetached    an ENI on no instance: addresses cannot be migrated from, or to, there
└── CloudDenied      anything else: credentials, mismatches, what is not supported

They are Berth's own errors too, so that one which reaches a caller says what it is.
"""

from __future__ import annotations

from shared.errors import (
    BerthError,
    CloudRefused,
    NotFound,
    QuotaReached,
    SubnetFull,
    Unavailable,
)


class CloudError(BerthError):
    """One call that did not succeed: which, with what code, under which request id."""

    def __init__(
        self, action: str, cloud_code: str, message: str, request_id: str = ""
    ) -> None:
        suffix = f" (request {request_id})" if request_id else ""
        super().__init__(f"{action}: {cloud_code}: {message}{suffix}")
        self.action = action
        self.cloud_code = cloud_code
        self.request_id = request_id


class CloudAway(CloudError, Unavailable):
    pass


class CloudThrottled(CloudError, Unavailable):
    pass


class CloudBusy(CloudError, Unavailable):
    pass


class CloudNotFound(CloudError, NotFound):
    pass


class CloudSubnetFull(CloudError, SubnetFull):
    pass


class CloudLimit(CloudError, QuotaReached):
    pass


class CloudVpcFull(CloudLimit):
    pass


class CloudTaken(CloudError, CloudRefused):
    pass


class CloudDetached(CloudError, CloudRefused):
    pass


class CloudDenied(CloudError, CloudRefused):
    pass


# Nothing is wrong with the request itself: the same one may succeed later.
RETRIED = (CloudAway, CloudThrottled, CloudBusy)
