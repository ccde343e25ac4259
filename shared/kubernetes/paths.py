"""Where the API server keeps the objects that we read."""

from __future__ import annotations

from typing import Final

from shared.ids import PodName, WorkloadName
from shared.workloads import WorkloadKind

PODS: Final = "/api/v1/pods"

_WORKLOADS: Final = {
    WorkloadKind.STATEFUL_SET: "/apis/apps/v1/namespaces/{}/statefulsets/{}",
    WorkloadKind.DEPLOYMENT: "/apis/apps/v1/namespaces/{}/deployments/{}",
    WorkloadKind.REPLICA_SET: "/apis/apps/v1/namespaces/{}/replicasets/{}",
    WorkloadKind.JOB: "/apis/batch/v1/namespaces/{}/jobs/{}",
}


def pod_path(pod: PodName) -> str:
    return f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"


def workload_path(workload: WorkloadName) -> str:
    """Raises ValueError for a kind that we know nothing of."""
    path = _WORKLOADS[WorkloadKind(workload.kind)]
    return path.format(workload.namespace, workload.name)
