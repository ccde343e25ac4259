"""A playground whose pods and nodes are an API server's, and what a cluster does of itself: a
controller makes pods, a scheduler asks the extender, a kubelet runs what is bound to its node.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from berth.demo.stage import Stage
from berth.playground.playground import Playground, StartOptions, ignore
from berth.playground.services import ApiServerDoor
from berth.playground.topology import default_topology
from shared.ids import NodeName, PodName, PodUid
from shared.kubernetes.client import KubernetesClient
from shared.kubernetes.definitions import manifests
from tests.support.kubernetes.access import kubeconfig
from tests.support.kubernetes.kinds import (
    DEFINITIONS,
    EVENTS,
    MUTATING_WEBHOOKS,
    NODES,
    PODS,
    SECRETS,
    STATEFUL_SETS,
    VALIDATING_WEBHOOKS,
    Kind,
    Object,
)
from tests.support.kubernetes.server import ApiServer, api_server
from tests.support.paths import EXAMPLE, ROOT
from tests.support.servers import free_port

NAMESPACE: Final = "berth-system"
ZONE_LABEL: Final = "topology.kubernetes.io/zone"
_BASE: Final = ROOT / "deploy" / "kubernetes" / "base"
_WEBHOOKS: Final = {each.kind: each for each in (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS)}
_WAIT_S: Final = 60.0
_BACK_OFF_S: Final = 0.2
_RUN_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A pod that a node's kubelet started."""

    node: NodeName
    address: IPv4Address
    body: Object


class PlayedCluster:
    def __init__(
        self,
        server: ApiServer,
        kubernetes: KubernetesClient,
        http: aiohttp.ClientSession,
        stage: Stage,
        scheduler: Object,
        webhook_port: int,
    ) -> None:
        self.server = server
        self.kubernetes = kubernetes
        self.stage = stage
        self._http = http
        [self._extender] = scheduler["extenders"]
        self._webhook_port = webhook_port
        self._workload: Object = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
        self._owner: Object = {}
        self._namespace = self._workload["metadata"]["namespace"]

    async def apply_example(self) -> None:
        """`kubectl apply -f deploy/examples/statefulset.yaml`."""
        path = f"/apis/apps/v1/namespaces/{self._namespace}/statefulsets"
        self._owner = await self.kubernetes.create(path, self._workload)

    async def make_pod(self, ordinal: int) -> Object:
        """As the StatefulSet's controller does: through the webhooks."""
        template = self._workload["spec"]["template"]
        owner = {
            "apiVersion": STATEFUL_SETS.api_version,
            "kind": STATEFUL_SETS.kind,
            "name": self._owner["metadata"]["name"],
            "uid": self._owner["metadata"]["uid"],
            "controller": True,
        }
        metadata = {
            "name": f"{owner['name']}-{ordinal}",
            "labels": template["metadata"]["labels"],
            "annotations": template["metadata"]["annotations"],
            "ownerReferences": [owner],
        }
        body = {"metadata": metadata, "spec": template["spec"]}
        return await self.kubernetes.create(self._pods_path(), body)

    async def schedule(self, pod: Object, among: Collection[NodeName]) -> NodeName:
        """As kube-scheduler does with our extender, its affinity, and no other wish: a pod that
        fits nowhere is tried again after a while."""
        fitting = [name for name in among if self._fits(pod, name)]
        kept: list[NodeName] = []
        async with asyncio.timeout(_WAIT_S):
            while not kept:
                filtered = await self._ask(self._extender["filterVerb"], pod, fitting)
                kept = filtered["NodeNames"]
                if not kept:
                    await asyncio.sleep(_BACK_OFF_S)  # the extender tells of no change
        scores = await self._ask(self._extender["prioritizeVerb"], pod, kept)
        best = max(scores, key=lambda each: each["Score"])
        return NodeName(best["Host"])

    async def run(self, pod: Object, node: NodeName) -> Ran:
        """Bound to the node, its kubelet starts it: the plugin asks the agent."""
        name = pod["metadata"]["name"]

        def bind(found: Object) -> None:
            found["spec"]["nodeName"] = node

        body = self.server.store.change(PODS, self._namespace, name, bind)
        running = await self.stage.runner(node).run(
            PodName(self._namespace, name),
            PodUid(body["metadata"]["uid"]),
            timeout_s=_RUN_S,
        )
        return Ran(node=node, address=running.address, body=body)

    async def delete(self, ran: Ran) -> None:
        """`kubectl delete pod`: marked, ended by the kubelet, gone."""
        name = ran.body["metadata"]["name"]
        await self.kubernetes.delete(f"{self._pods_path()}/{name}")
        pod = PodName(self._namespace, name)
        await self.stage.runner(ran.node).remove(pod, timeout_s=_RUN_S)
        self.server.store.delete(PODS, self._namespace, name, grace_s=0)

    def nodes(self) -> dict[NodeName, str]:
        """Names and zones."""
        found = self.all(NODES)
        return {
            NodeName(n): each["metadata"]["labels"][ZONE_LABEL] for n, each in found.items()
        }

    def all(self, kind: Kind) -> dict[str, Object]:
        found = self.server.store.list(kind, "", lambda _: True)
        return {each["metadata"]["name"]: each for each in found}

    def told(self, name: str) -> set[str]:
        """Reasons of the events about an object."""
        events = self.all(EVENTS).values()
        return {each["reason"] for each in events if each["involvedObject"]["name"] == name}

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Looked at after every write of the API server."""
        async with asyncio.timeout(_WAIT_S):
            while True:
                changed = self.server.store.changed
                if is_so():
                    return
                await changed.wait()

    def _fits(self, pod: Object, node: NodeName) -> bool:
        affinity = pod["spec"].get("affinity", {}).get("nodeAffinity", {})
        terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {})
        wanted = [
            (each["key"], each["values"])
            for term in terms.get("nodeSelectorTerms", [])
            for each in term["matchExpressions"]
        ]
        return all(key == ZONE_LABEL and self.nodes()[node] in them for key, them in wanted)

    async def _ask(self, verb: str, pod: Object, names: Collection[NodeName]) -> Any:
        path = self._extender["urlPrefix"].partition(".svc")[2]
        async with self._http.post(
            f"https://127.0.0.1:{self._webhook_port}{path}/{verb}",
            json={"Pod": pod, "Nodes": None, "NodeNames": sorted(names)},
            ssl=self._authority(),
            server_hostname=self._extender["tlsConfig"]["serverName"],
        ) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    def _authority(self) -> ssl.SSLContext:
        [secret] = [each for each in self.all(SECRETS).values() if "ca.crt" in each["data"]]
        return ssl.create_default_context(
            cadata=base64.b64decode(secret["data"]["ca.crt"]).decode()
        )

    def _pods_path(self) -> str:
        return f"/api/v1/namespaces/{self._namespace}/pods"


@asynccontextmanager
async def played_cluster(run_dir: Path, folder: Path) -> AsyncIterator[PlayedCluster]:
    """Webhooks and scheduler as deploy/ has them; every node joined and free of its taint."""
    scheduler = yaml.safe_load((_BASE / "scheduler-configuration.yaml").read_text())
    webhooks = list(yaml.safe_load_all((_BASE / "webhooks.yaml").read_text()))
    service = webhooks[0]["metadata"]["name"]
    port = free_port()
    topology = default_topology()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(api_server())
        for each in manifests():
            server.store.create(DEFINITIONS, "", each)
        for each in webhooks[1:]:
            server.store.create(_WEBHOOKS[each["kind"]], "", each)
        server.admission.addresses[NAMESPACE, service] = f"127.0.0.1:{port}"
        for node in topology.nodes:
            labels = {ZONE_LABEL: node.zone}
            body = {"metadata": {"name": node.name, "labels": labels}, "spec": {}}
            server.store.create(NODES, "", body)
        file = kubeconfig(server, folder)
        door = ApiServerDoor(
            address=server.url.removeprefix("http://"),
            kubeconfig=file,
            namespace=NAMESPACE,
            webhook_listen=f"127.0.0.1:{port}",
            webhook_service=service,
        )
        playground = await Playground.start(
            run_dir=run_dir,
            topology=topology,
            options=StartOptions(cooling_s=1.0, api_server=door),
            report=ignore,
        )
        stack.push_async_callback(playground.stop)
        stage = await Stage.open(playground.state, stack, stays=False)
        kubernetes = await KubernetesClient.connect(file, timeout_s=10.0)
        stack.push_async_callback(kubernetes.aclose)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield PlayedCluster(server, kubernetes, http, stage, scheduler, port)
