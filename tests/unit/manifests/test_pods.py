"""Workloads become pods with Kubernetes' own names and shape."""

from __future__ import annotations

import json
import random

from berth.manifests.pods import PodSpec, file_name, pod_json, pods_of, reborn
from berth.manifests.reader import parse_manifest, read_manifest
from shared.ids import NodeName, PodName
from tests.support.paths import EXAMPLE

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web}]}
"""


def busybox() -> list[PodSpec]:
    manifest = read_manifest(EXAMPLE)
    return pods_of(manifest, random.Random(7))


def deployed(name: str) -> list[PodSpec]:
    return pods_of(parse_manifest(DEPLOYMENT.replace("NAME", name)), random.Random(7))


def test_a_stateful_set_counts_its_pods_from_its_first_ordinal() -> None:
    text = EXAMPLE.read_text()
    later = text.replace("  replicas: 3", "  replicas: 2\n  ordinals: {start: 5}")

    from_zero = busybox()
    from_five = pods_of(parse_manifest(later), random.Random(7))

    assert [pod.name.name for pod in from_zero] == ["busybox-0", "busybox-1", "busybox-2"]
    assert [pod.name.name for pod in from_five] == ["busybox-5", "busybox-6"]


def test_a_deployment_names_its_pods_after_its_replica_set() -> None:
    pods = deployed("web")

    owner = pods[0].owner
    assert owner is not None
    assert owner.kind == "ReplicaSet"
    assert len({pod.name for pod in pods}) == 3
    assert all(pod.name.name.startswith(f"{owner.name}-") for pod in pods)


def test_a_deployments_pod_names_stay_labels_however_long_its_own() -> None:
    assert [len(pod.name.name) for pod in deployed("w" * 100)] == [63, 63, 63]


def test_a_pod_that_comes_back_has_its_name_and_another_uid() -> None:
    pod = busybox()[1]

    again = reborn(pod, random.Random(8))

    assert again.name == pod.name
    assert again.uid != pod.uid


def test_pods_of_one_owner_share_it_and_have_uids_of_their_own() -> None:
    pods = busybox()

    assert len({pod.owner for pod in pods}) == 1
    assert len({pod.uid for pod in pods}) == 3


def test_the_json_is_what_the_api_server_would_show() -> None:
    pod = busybox()[0]

    shown = json.loads(json.dumps(pod_json(pod, NodeName("node-1"))))

    assert shown["metadata"]["uid"] == pod.uid
    assert shown["metadata"]["annotations"]["tke.cloud.tencent.com/networks"] == "tke-route-eni"
    assert shown["metadata"]["ownerReferences"][0]["name"] == "busybox"
    assert shown["spec"]["nodeName"] == "node-1"
    assert shown["spec"]["containers"][0]["resources"]["limits"] == {
        "tke.cloud.tencent.com/eni-ip": "1"
    }


def test_no_two_pods_share_a_file_name() -> None:
    assert file_name(PodName("a", "b-c")) == "a_b-c.json"
    assert file_name(PodName("a-b", "c")) != file_name(PodName("a", "b-c"))
