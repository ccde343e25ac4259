"""The Kubernetes around a measured agent: an API server with the node's pods, and a kubelet."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from shared.annotations import NETWORKS, NetworkMode
from shared.ids import NodeName
from tests.bench.nodes import PODS_FILE
from tests.support.kubelet import StandInKubelet
from tests.support.kubernetes.access import kubeconfig
from tests.support.kubernetes.kinds import PODS
from tests.support.kubernetes.server import api_server

NAMESPACE: Final = "bench"
_FIELDS: Final = 60  # of its managers': as many make a pod as large as they mostly are, 8 KiB


@asynccontextmanager
async def kubernetes(folder: Path, node: NodeName) -> AsyncIterator[Mapping[str, str]]:
    """What the agent is to be told of it; nothing where no pods were named."""
    file = folder / PODS_FILE
    if not file.exists():
        yield {}
        return
    kubelet = StandInKubelet(folder / "kubelet")
    async with api_server() as server:
        for name in json.loads(file.read_text()):
            server.store.create(PODS, NAMESPACE, _pod(name, node))
        await kubelet.start()
        try:
            yield {
                "BERTH_NODE_AGENT_POD_SOURCE": "kubernetes",
                "BERTH_NODE_AGENT_KUBERNETES_CONFIG": str(kubeconfig(server, folder)),
                "BERTH_NODE_AGENT_KUBELET_DIR": str(kubelet.folder),
                "BERTH_NODE_AGENT_RUNTIME_SOCKET": str(folder / "no-runtime.sock"),
            }
        finally:
            await kubelet.stop()


def _pod(name: str, node: NodeName) -> dict[str, Any]:
    fields: dict[str, Any] = {
        f"f:a-field-that-somebody-manages-{number}": {} for number in range(_FIELDS)
    }
    managers = [
        {"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": fields}}
        for manager in ("kube-controller-manager", "kubelet")
    ]
    return {
        "metadata": {
            "name": name,
            "labels": {"app": "bench", "pod-template-hash": "7f9c6d5b4"},
            "annotations": {NETWORKS: NetworkMode.SHARED, "kubernetes.io/config.seen": "now"},
            "managedFields": managers,
        },
        "spec": {
            "nodeName": node,
            "containers": [
                {
                    "name": f"c{number}",
                    "image": "registry.example.com/team/app:1.2.3",
                    "env": [{"name": f"NAME_{each}", "value": "value"} for each in range(12)],
                    "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
                }
                for number in range(2)
            ],
        },
    }
