"""The webhooks through an API server that calls them over TLS, as the real one does."""

from __future__ import annotations

import io
import random
import ssl
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from services.allocator.kubernetes.admission import ClusterFacts
from services.allocator.kubernetes.certificates import AUTHORITY_LIFE, SERVING_LIFE
from services.allocator.kubernetes.trust import SECRET, TrustKeeper
from services.allocator.kubernetes.webhook import Webhook
from shared.annotations import (
    DELETE_POLICY,
    NETWORKS,
    NOMINATED_IP,
    NOMINATED_SUBNETS,
    RESOURCE_EXCLUSIVE,
    RESOURCE_SHARED,
    NetworkMode,
)
from shared.clock import Clock, SystemClock
from shared.errors import InvalidInput, Unavailable
from shared.ids import PodName
from shared.kubernetes.client import KubernetesClient
from tests.support.kubernetes.access import kubeconfig
from tests.support.kubernetes.kinds import (
    MUTATING_WEBHOOKS,
    SECRETS,
    VALIDATING_WEBHOOKS,
    Object,
)
from tests.support.kubernetes.server import ApiServer, api_server

SERVICE = "berth-webhook"
NAMESPACE = "kube-system"
CONFIGURATION = "berth"
ZONE_LABEL = "topology.kubernetes.io/zone"
PODS = "/api/v1/namespaces/shop/pods"


class Facts:
    """What a test says of the cluster."""

    def __init__(self) -> None:
        self.has_fixed_ips: bool | None = True
        self.default_mode: NetworkMode | None = None
        self.zones: dict[PodName, str] = {}
        self.is_away = False

    def cluster(self) -> ClusterFacts:
        return ClusterFacts(
            has_fixed_ips=self.has_fixed_ips,
            default_mode=self.default_mode,
            zone_label=ZONE_LABEL,
        )

    async def zone_of(self, pod: PodName) -> str | None:
        if self.is_away:
            raise Unavailable("store: away")
        return self.zones.get(pod)


class Later(SystemClock):
    """The system's clock, some time from now."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


class World:
    def __init__(self, server: ApiServer, kubernetes: KubernetesClient, facts: Facts) -> None:
        self.server = server
        self.kubernetes = kubernetes
        self.facts = facts
        self.clock = Later()
        self.webhook = Webhook(facts, listen="127.0.0.1:0")
        self.keeper = self.another_keeper(self.clock, self.webhook)

    def another_keeper(self, clock: Clock, webhook: Webhook) -> TrustKeeper:
        return TrustKeeper(
            self.kubernetes,
            clock,
            namespace=NAMESPACE,
            service=SERVICE,
            configurations=[CONFIGURATION],
            serve=webhook.use,
        )

    async def pod(self, name: str = "web-0", **spec: Any) -> Object:
        """Create a pod through the API server; what was stored."""
        annotations = spec.pop("annotations", {NETWORKS: NetworkMode.SHARED.value})
        body = {
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"containers": [{"name": "c"}], **spec},
        }
        return await self.kubernetes.create(PODS, body)


def configuration(kind: str, path: str) -> Object:
    return {
        "metadata": {"name": CONFIGURATION},
        "webhooks": [
            {
                "name": f"{kind}.berth.io",
                "failurePolicy": "Ignore",
                "clientConfig": {
                    "service": {"name": SERVICE, "namespace": NAMESPACE, "path": path}
                },
                "rules": [
                    {
                        "operations": ["CREATE"],
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "resources": ["pods"],
                    }
                ],
                "namespaceSelector": {
                    "matchExpressions": [
                        {
                            "key": "kubernetes.io/metadata.name",
                            "operator": "NotIn",
                            "values": [NAMESPACE],
                        }
                    ]
                },
            }
        ],
    }


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with api_server() as server:
        file = kubeconfig(server, tmp_path)
        kubernetes = await KubernetesClient.connect(file, timeout_s=5.0)
        try:
            for kind, name in (
                (MUTATING_WEBHOOKS, "mutate"),
                (VALIDATING_WEBHOOKS, "validate"),
            ):
                server.store.create(kind, "", configuration(name, f"/{name}"))
            found = World(server, kubernetes, Facts())
            await found.keeper.round()
            await found.webhook.start()
            place = f"127.0.0.1:{found.webhook.port}"
            server.admission.addresses[NAMESPACE, SERVICE] = place
            yield found
            await found.webhook.aclose()
        finally:
            await kubernetes.aclose()


async def test_the_resource_is_added_and_nothing_else_is_touched(world: World) -> None:
    container = {"name": "c", "resources": {"limits": {"cpu": "1"}}}

    stored = await world.pod(containers=[container, {"name": "side"}])

    assert world.server.admission.failures == []
    assert stored["spec"]["containers"] == [
        {
            "name": "c",
            "resources": {
                "limits": {"cpu": "1", RESOURCE_SHARED: "1"},
                "requests": {RESOURCE_SHARED: "1"},
            },
        },
        {"name": "side"},
    ]


async def test_a_pod_that_asks_by_itself_is_left_as_it_is(world: World) -> None:
    resources = {"limits": {RESOURCE_SHARED: "1"}, "requests": {RESOURCE_SHARED: "1"}}
    containers = [{"name": "c"}, {"name": "side", "resources": resources}]

    stored = await world.pod(containers=containers)

    assert stored["spec"]["containers"] == containers


@pytest.mark.parametrize(
    ("annotations", "spec", "default_mode"),
    [
        ({}, {}, None),
        ({}, {"hostNetwork": True}, NetworkMode.SHARED),
        ({NETWORKS: "tke-bridge"}, {}, NetworkMode.SHARED),
    ],
)
async def test_a_pod_that_is_none_of_ours_is_left_alone(
    world: World,
    annotations: dict[str, str],
    spec: dict[str, Any],
    default_mode: NetworkMode | None,
) -> None:
    world.facts.default_mode = default_mode

    stored = await world.pod(annotations=annotations, **spec)

    assert stored["spec"]["containers"] == [{"name": "c"}]


async def test_in_a_pure_cluster_a_pod_without_an_annotation_is_ours(world: World) -> None:
    world.facts.default_mode = NetworkMode.EXCLUSIVE

    stored = await world.pod(annotations={})

    resources = stored["spec"]["containers"][0]["resources"]
    assert resources["limits"] == {RESOURCE_EXCLUSIVE: "1"}


async def test_a_namespace_of_the_system_is_not_asked_about(world: World) -> None:
    body = {
        "metadata": {"name": "x", "annotations": {NETWORKS: "tke-route-eni"}},
        "spec": {"containers": [{"name": "c"}]},
    }

    stored = await world.kubernetes.create(f"/api/v1/namespaces/{NAMESPACE}/pods", body)

    assert stored["spec"]["containers"] == [{"name": "c"}]


async def test_a_fixed_pod_is_kept_in_the_zone_of_its_address(world: World) -> None:
    world.facts.zones[PodName("shop", "db-0")] = "zone-2"
    own = {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {"matchExpressions": [{"key": "disk", "operator": "Exists"}]},
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]},
            ]
        }
    }
    annotations = {NETWORKS: "tke-route-eni", DELETE_POLICY: "Never"}

    plain = await world.pod("db-0", annotations=annotations)
    await world.kubernetes.delete(f"{PODS}/db-0")
    choosy = await world.pod("db-0", annotations=annotations, affinity={"nodeAffinity": own})

    wanted = {"key": ZONE_LABEL, "operator": "In", "values": ["zone-2"]}
    assert _terms(plain) == [{"matchExpressions": [wanted]}]
    assert [each["matchExpressions"][-1] for each in _terms(choosy)] == [wanted, wanted]
    assert _terms(choosy)[0]["matchExpressions"][0] == {"key": "disk", "operator": "Exists"}


async def test_a_lease_that_cannot_be_looked_up_holds_no_pod_back(world: World) -> None:
    world.facts.is_away = True

    stored = await world.pod(
        "db-0", annotations={NETWORKS: "tke-route-eni", DELETE_POLICY: "Never"}
    )

    assert "affinity" not in stored["spec"]
    assert world.server.admission.failures == []


@pytest.mark.parametrize(
    ("annotations", "fixed", "reason"),
    [
        ({NETWORKS: "tke-eni"}, True, "tke-route-eni or tke-direct-eni"),
        (
            {NETWORKS: "tke-route-eni", DELETE_POLICY: "Sometimes"},
            True,
            "Immediate or Never",
        ),
        (
            {NETWORKS: "tke-route-eni", DELETE_POLICY: "Never"},
            False,
            "enabled without fixed addresses",
        ),
        ({NETWORKS: "tke-route-eni", NOMINATED_IP: "fd00::9"}, True, "no IPv6"),
        ({NETWORKS: "tke-direct-eni", NOMINATED_IP: "10.0.1.9"}, True, "only with"),
        (
            {NETWORKS: "tke-direct-eni", NOMINATED_SUBNETS: "subnet-a"},
            True,
            f"'subnet-a' is not allowed; allowed: only with {NETWORKS}: tke-route-eni",
        ),
    ],
)
async def test_what_is_not_allowed_is_refused_at_apply_with_what_is(
    world: World, annotations: dict[str, str], fixed: bool, reason: str
) -> None:
    world.facts.has_fixed_ips = fixed

    with pytest.raises(InvalidInput, match=reason):
        await world.pod(annotations=annotations)


async def test_only_a_pod_without_a_controller_names_its_address(world: World) -> None:
    named = {NETWORKS: "tke-route-eni", NOMINATED_IP: "10.0.1.9"}
    web = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u-1"}
    body = {
        "metadata": {
            "name": "web-7",
            "annotations": named,
            "ownerReferences": [web | {"controller": True}],
        },
        "spec": {"containers": [{"name": "c"}]},
    }

    with pytest.raises(InvalidInput, match=r"web-7, made by ReplicaSet web: '10\.0\.1\.9'"):
        await world.kubernetes.create(PODS, body)
    bare = await world.pod(annotations=named)

    assert bare["metadata"]["name"] == "web-0"


async def test_the_resource_of_the_other_mode_is_refused(world: World) -> None:
    resources = {"limits": {RESOURCE_EXCLUSIVE: "1"}, "requests": {RESOURCE_EXCLUSIVE: "1"}}

    with pytest.raises(InvalidInput, match=RESOURCE_SHARED):
        await world.pod(containers=[{"name": "c", "resources": resources}])


async def test_two_replicas_serve_under_one_authority(world: World) -> None:
    other = Webhook(world.facts, listen="127.0.0.1:0")
    await world.another_keeper(SystemClock(), other).round()
    await other.start()
    place = f"127.0.0.1:{other.port}"
    world.server.admission.addresses[NAMESPACE, SERVICE] = place

    stored = await world.pod()
    await other.aclose()

    assert world.server.admission.failures == []
    assert RESOURCE_SHARED in stored["spec"]["containers"][0]["resources"]["limits"]


@pytest.mark.parametrize(
    "rounds_ago",
    [
        [SERVING_LIFE * 0.8],
        [AUTHORITY_LIFE * 2 / 3 + timedelta(days=10), timedelta(days=100)],
    ],
    ids=["certificate", "authority"],
)
async def test_what_grows_old_is_renewed_while_every_pod_is_looked_at(
    world: World, rounds_ago: list[timedelta]
) -> None:
    await world.kubernetes.delete(f"/api/v1/namespaces/{NAMESPACE}/secrets/{SECRET}")
    for ago in rounds_ago:
        world.clock.ahead = -ago
        await world.keeper.round()
    before = world.server.store.get(SECRETS, NAMESPACE, SECRET)["data"]
    world.clock.ahead = timedelta()

    for number in range(3):  # authority, certificate, nothing
        await world.keeper.round()
        await world.pod(f"web-{number}")

    after = world.server.store.get(SECRETS, NAMESPACE, SECRET)["data"]
    assert after["tls.crt"] != before["tls.crt"]
    assert (after["ca.crt"] != before["ca.crt"]) == (len(rounds_ago) == 2)
    assert world.server.admission.failures == []


async def test_rubbish_is_answered_and_harms_nobody(world: World) -> None:
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    url = f"https://127.0.0.1:{world.webhook.port}/validate"
    rng = random.Random(3)
    bodies = [b"", b"{", b"[]", rng.randbytes(5000), b'{"kind": "AdmissionReview"}']

    async with aiohttp.ClientSession() as session:
        statuses = []
        for body in bodies:
            async with session.post(url, data=body, ssl=tls) as answer:
                statuses.append(answer.status)
        async with session.post(url, data=io.BytesIO(b"x" * (4 << 20)), ssl=tls) as answer:
            statuses.append(answer.status)

    assert statuses == [400] * len(bodies) + [413]
    assert RESOURCE_SHARED in str(await world.pod())


def _terms(pod: Object) -> list[Object]:
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    terms: list[Object] = pod["spec"]["affinity"]["nodeAffinity"][required]["nodeSelectorTerms"]
    return terms
