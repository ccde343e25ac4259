"""What the API server refuses, as the Status objects that clients read."""

from __future__ import annotations

from tests.support.kubernetes.kinds import Object


class ApiFailure(Exception):
    """An HTTP status with the reason that Kubernetes gives with it."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason

    def status(self) -> Object:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
            "code": self.code,
        }


def not_found(what: str) -> ApiFailure:
    return ApiFailure(404, "NotFound", f"{what} not found")


def already_exists(what: str) -> ApiFailure:
    return ApiFailure(409, "AlreadyExists", f"{what} already exists")


def conflict(what: str) -> ApiFailure:
    return ApiFailure(
        409,
        "Conflict",
        f"Operation cannot be fulfilled on {what}: the object has been modified;"
        " please apply your changes to the latest version and try again",
    )


def gone(version: int, oldest: int) -> ApiFailure:
    return ApiFailure(410, "Expired", f"too old resource version: {version} ({oldest})")


def invalid(message: str) -> ApiFailure:
    return ApiFailure(422, "Invalid", message)


def bad_request(message: str) -> ApiFailure:
    return ApiFailure(400, "BadRequest", message)
