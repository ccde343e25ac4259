"""Which node a token speaks for, by the API server's word.

A node agent's pod has a projected token of its service account, bound to that pod. TokenReview
says whose it is; the pod says on which node it runs, where the token does not say so itself.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from typing import Any, Final

from shared.clock import Clock
from shared.errors import NotAuthorised, NotFound
from shared.ids import NodeName, PodName
from shared.kubernetes.client import KubernetesClient
from shared.kubernetes.paths import pod_path

_REVIEWS: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
_CLAIM: Final = "authentication.kubernetes.io"
# So that a bus that restarts does not send every agent to the API server; a pod that is gone
# may speak for its node this much longer.
KNOWN_S: Final = 300.0
_KNOWN_MAX: Final = 20_000


class NodeTokens:
    def __init__(
        self,
        kubernetes: KubernetesClient,
        clock: Clock,
        *,
        namespace: str,
        service_account: str,
        audience: str,
        in_flight_max: int,
    ) -> None:
        self._kubernetes = kubernetes
        self._clock = clock
        self._namespace = namespace
        self._user = f"system:serviceaccount:{namespace}:{service_account}"
        self._audience = audience
        self._in_flight = asyncio.Semaphore(in_flight_max)
        self._known: OrderedDict[bytes, tuple[NodeName, float]] = OrderedDict()

    async def node_of(self, token: str) -> NodeName:
        """Raises NotAuthorised with the reason, or Unavailable when nobody can be asked."""
        digest = hashlib.sha256(token.encode()).digest()  # the token itself is kept nowhere
        known = self._known.get(digest)
        if known is not None and self._clock.monotonic_s() < known[1]:
            return known[0]
        async with self._in_flight:
            node = await self._review(token)
        self._known[digest] = (node, self._clock.monotonic_s() + KNOWN_S)
        if len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)
        return node

    async def _review(self, token: str) -> NodeName:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [self._audience]},
        }
        status = (await self._kubernetes.create(_REVIEWS, body)).get("status") or {}
        # An API server that knows no audiences leaves the field out: any token would do there.
        if not status.get("authenticated") or self._audience not in (
            status.get("audiences") or ()
        ):
            why = status.get("error", "refused")
            raise NotAuthorised(f"no token for {self._audience}: {why}")
        user = status.get("user") or {}
        if user.get("username") != self._user:
            raise NotAuthorised(f"{user.get('username')!r} is not {self._user}")
        extra = user.get("extra") or {}
        node = _first(extra, "node-name")
        return NodeName(node) if node else await self._node_of_pod(extra)

    async def _node_of_pod(self, extra: dict[str, Any]) -> NodeName:
        name, uid = _first(extra, "pod-name"), _first(extra, "pod-uid")
        if not name or not uid:
            raise NotAuthorised("the token is bound to no pod: a projected one is wanted")
        try:
            pod = await self._kubernetes.get(pod_path(PodName(self._namespace, name)))
        except NotFound:
            raise NotAuthorised(f"pod {name} of the token is gone") from None
        node = (pod.get("spec") or {}).get("nodeName")
        if pod["metadata"]["uid"] != uid or not node:
            raise NotAuthorised(f"pod {name} of the token is gone, or on no node")
        return NodeName(node)


def _first(extra: dict[str, Any], claim: str) -> str:
    found = extra.get(f"{_CLAIM}/{claim}") or [""]
    return str(found[0])
