"""What a pod is, from the API server: out of the watch of this node, else asked for once.

A pod that was heard of is known while the API server is away. One that was not is asked for by
name, because the runtime may be quicker than the watch; unknown is never guessed.
"""

from __future__ import annotations

import json
import random

from pydantic import ValidationError

from services.node_agent.domain.ports import KnownPod
from shared.errors import BerthError, NotFound, PodUnknown, Unavailable
from shared.ids import NodeName, PodName, PodUid, WorkloadName
from shared.kubernetes.paths import PODS, pod_path, workload_path
from shared.kubernetes.watching import Object, ObjectWatch
from shared.workloads import WorkloadObject, parse_workload

from .kubernetes_api import KubernetesApi
from .pod_objects import PodObject, known_pod


def watch_pods(api: KubernetesApi, node: NodeName, rng: random.Random) -> ObjectWatch:
    """Of one node only: an agent need not know more, and a large cluster could not bear it."""
    return ObjectWatch(api, PODS, {"fieldSelector": f"spec.nodeName={node}"}, rng)


class KubernetesPods:
    """Implements PodSource."""

    def __init__(self, api: KubernetesApi, watch: ObjectWatch) -> None:
        self._api = api
        self._watch = watch

    async def find(self, name: PodName, uid: PodUid | None) -> KnownPod:
        """Raises PodUnknown when the API server does not know it, Unavailable when it cannot be
        asked: who looks for pods that are gone must not take the one for the other."""
        heard = self._watch.find(name.namespace, name.name)
        if heard is None or (uid is not None and heard["metadata"]["uid"] != uid):
            heard = await self._ask(name)
        try:
            pod = PodObject.model_validate(heard)
        except ValidationError as error:
            reason = str(error).splitlines()[0]
            raise PodUnknown(f"pod {name}: its object cannot be read: {reason}") from error
        return await known_pod(pod, name, uid, self._workload)

    async def _ask(self, name: PodName) -> Object:
        try:
            return await self._api.get(pod_path(name))
        except NotFound:
            raise PodUnknown(f"pod {name} is not known to the API server") from None
        except BerthError as error:
            raise Unavailable(f"pod {name} was not heard of: {error}") from error

    async def _workload(self, pod: PodName, workload: WorkloadName) -> WorkloadObject:
        """Asked for each time: how many pods it may have is changed while they live."""
        path = workload_path(workload)
        try:
            body = await self._api.get(path)
            return parse_workload(
                json.dumps({"kind": workload.kind, **body}).encode(), str(workload)
            )
        except BerthError as error:
            raise PodUnknown(f"pod {pod}: {workload} is not known: {error}") from error
