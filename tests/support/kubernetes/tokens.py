"""TokenReview: which service account, pod and node a token is of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

TOKEN_REVIEWS: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
_CLAIM: Final = "authentication.kubernetes.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What a token was made for. Servers before 1.30 do not name the node in it."""

    audience: str
    account: str  # namespace:name
    pod: str = ""
    uid: str = ""
    node: str = ""


@dataclass(slots=True)
class Tokens:
    known: dict[str, Bound] = field(default_factory=dict)
    asked: int = 0

    def review(self, body: dict[str, Any]) -> dict[str, Any]:
        self.asked += 1
        bound = self.known.get(body["spec"]["token"])
        audiences = body["spec"].get("audiences") or []
        if bound is None or bound.audience not in audiences:
            status: dict[str, Any] = {"authenticated": False, "error": "invalid bearer token"}
            return {**body, "status": status}
        claims = {"pod-name": bound.pod, "pod-uid": bound.uid, "node-name": bound.node}
        user = {
            "username": f"system:serviceaccount:{bound.account}",
            "extra": {f"{_CLAIM}/{name}": [value] for name, value in claims.items() if value},
        }
        status = {"authenticated": True, "audiences": [bound.audience], "user": user}
        return {**body, "status": status}
