"""What a user's manifest may hold, and the line shown for what it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from berth.manifests.reader import Manifest, parse_manifest, read_manifest
from shared.annotations import DeletePolicy, NetworkMode
from shared.errors import InvalidInput
from tests.support.paths import EXAMPLE

ENI_IP: Final = "tke.cloud.tencent.com/eni-ip"
NETWORKS: Final = "tke.cloud.tencent.com/networks"
SUBNETS: Final = "tke.cloud.tencent.com/nominated-eni-subnets"
POLICY: Final = "tke.cloud.tencent.com/vpc-ip-claim-delete-policy"

STATEFUL_SET: Final = """\
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: web
spec:
  replicas: 2
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
      annotations:
        tke.cloud.tencent.com/networks: tke-route-eni
        tke.cloud.tencent.com/vpc-ip-claim-delete-policy: Never
    spec:
      containers:
        - name: web
          image: busybox
          resources:
            limits:
              tke.cloud.tencent.com/eni-ip: "1"
            requests:
              tke.cloud.tencent.com/eni-ip: "1"
"""
POD: Final = """\
apiVersion: v1
kind: Pod
metadata: {name: alone, namespace: tools}
spec:
  containers: [{name: main, image: busybox}]
"""
SERVICE: Final = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: None}
"""


def changed(old: str, new: str) -> str:
    assert STATEFUL_SET.count(old) == 1, f"{old!r} must be there once to be changed"
    return STATEFUL_SET.replace(old, new)


def refusal(text: str) -> str:
    with pytest.raises(InvalidInput) as refused:
        parse_manifest(text)
    return str(refused.value)


def names(manifest: Manifest) -> list[str]:
    return [f"{each.kind} {each.name} x{each.replicas}" for each in manifest.workloads]


def test_the_example_is_read_as_it_comes() -> None:
    manifest = read_manifest(EXAMPLE)

    workload = manifest.workloads[0]
    assert names(manifest) == ["StatefulSet default/busybox x3"]
    assert workload.network.mode is NetworkMode.SHARED
    assert workload.network.policy is DeletePolicy.NEVER
    assert workload.containers[0].command == ("sleep", "10000000000")


def test_a_file_may_hold_several_documents_and_empty_ones() -> None:
    deployment = changed("kind: StatefulSet", "kind: Deployment")

    manifest = parse_manifest(f"---\n{STATEFUL_SET}---\n---\n{deployment}---\n{POD}")

    assert names(manifest) == [
        "StatefulSet default/web x2",
        "Deployment default/web x2",
        "Pod tools/alone x1",
    ]


def test_objects_that_start_no_pod_are_left_out_and_named() -> None:
    manifest = parse_manifest(f"{SERVICE}---\n{STATEFUL_SET}")

    assert manifest.skipped == ("Service default/web",)
    assert names(manifest) == ["StatefulSet default/web x2"]


def test_a_pod_without_annotation_and_resource_takes_the_default_network() -> None:
    network = parse_manifest(POD).workloads[0].network

    assert network.mode is None
    assert network.policy is DeletePolicy.IMMEDIATE


def test_requests_follow_the_limits_as_at_the_api_server() -> None:
    limits_alone = STATEFUL_SET.split("            requests:")[0]

    assert names(parse_manifest(limits_alone)) == ["StatefulSet default/web x2"]


def test_replicas_are_one_when_not_named() -> None:
    assert names(parse_manifest(changed("  replicas: 2\n", ""))) == [
        "StatefulSet default/web x1"
    ]


@pytest.mark.parametrize("quantity", ['"1"', "1"])
def test_the_resource_may_be_text_or_a_number(quantity: str) -> None:
    text = STATEFUL_SET.replace(f'{ENI_IP}: "1"', f"{ENI_IP}: {quantity}")

    assert names(parse_manifest(text)) == ["StatefulSet default/web x2"]


REFUSED: Final = {
    "not YAML": (
        "a: [1",
        "not YAML: line 1, column 6: expected ',' or ']', but got '<stream end>'",
    ),
    "a key twice": (
        changed("  replicas: 2\n", "  replicas: 2\n  replicas: 3\n"),
        "not YAML: line 7, column 3: key 'replicas' is there twice",
    ),
    "nothing": ("---\n", "no document in it; allowed: StatefulSet, Deployment or Pod"),
    "not an object": (
        f"{STATEFUL_SET}---\njust words\n",
        "document 2: 'just words' is not allowed; allowed: a Kubernetes object (a mapping)",
    ),
    "no kind": (
        changed("kind: StatefulSet\n", ""),
        "document 1: kind: missing; allowed: StatefulSet, Deployment or Pod",
    ),
    "an unknown kind": (
        f"{POD}---\n{changed('kind: StatefulSet', 'kind: DaemonSet')}",
        "document 2: kind: 'DaemonSet' is not allowed; allowed: StatefulSet, Deployment, Pod",
    ),
    "another API version": (
        changed("apps/v1", "apps/v1beta2"),
        "document 1: apiVersion: 'apps/v1beta2' is not allowed; allowed: apps/v1",
    ),
    "no name": (
        changed("  name: web\nspec", "  namespace: web\nspec"),
        "document 1: metadata.name: missing; allowed: a name",
    ),
    "no pod template": (
        STATEFUL_SET.split("  template:")[0],
        "document 1: spec.template: missing; "
        "allowed: a pod template with its metadata and spec",
    ),
    "no containers": (
        STATEFUL_SET.split("      containers:")[0] + "      containers: []\n",
        "document 1: spec.template.spec.containers: [] is not allowed; "
        "allowed: at least 1 entry",
    ),
    "negative replicas": (
        changed("replicas: 2", "replicas: -1"),
        "document 1: spec.replicas: -1 is not allowed; allowed: 0 or more",
    ),
    "replicas as text": (
        changed("replicas: 2", 'replicas: "2"'),
        "document 1: spec.replicas: '2' is not allowed; allowed: a whole number",
    ),
    "too many replicas": (
        changed("replicas: 2", "replicas: 2000"),
        "document 1: spec.replicas: 2000 is not allowed; allowed: 256 or less",
    ),
    "no replica at all": (
        changed("replicas: 2", "replicas: 0"),
        "no pod to run in it; allowed: a StatefulSet, Deployment or Pod",
    ),
    "an unknown network": (
        changed("tke-route-eni", "bridge"),
        f"document 1: spec.template.metadata.annotations: {NETWORKS}: 'bridge' is not allowed; "
        "allowed: tke-route-eni or tke-direct-eni",
    ),
    "an unknown delete policy": (
        changed("policy: Never", "policy: Always"),
        f"document 1: spec.template.metadata.annotations: {POLICY}: 'Always' is not allowed; "
        "allowed: Immediate or Never",
    ),
    "subnets named for an ENI of its own": (
        changed(
            f"{NETWORKS}: tke-route-eni",
            f"{NETWORKS}: tke-direct-eni\n        {SUBNETS}: subnet-b,subnet-a",
        ),
        f"document 1: spec.template.metadata.annotations: {SUBNETS}: 'subnet-a,subnet-b' is "
        f"not allowed; allowed: only with {NETWORKS}: tke-route-eni",
    ),
    "an annotation that is no text": (
        changed("policy: Never", "policy: true"),
        f"document 1: spec.template.metadata.annotations[{POLICY}]: True is not allowed; "
        "allowed: text (a number or a true/false needs quotes)",
    ),
    "annotation without resource": (
        STATEFUL_SET.split("          resources:")[0],
        f"document 1: spec.template.spec.containers[0].resources: {ENI_IP} is missing, but the "
        f'pod is annotated {NETWORKS}; allowed: "1"',
    ),
    "resource without annotation": (
        changed(f"        {NETWORKS}: tke-route-eni\n", ""),
        f"document 1: spec.template.metadata.annotations: {NETWORKS} is missing, but a "
        f"container asks for {ENI_IP}; allowed: tke-route-eni or tke-direct-eni",
    ),
    "resource in requests only": (
        STATEFUL_SET.replace(f'            limits:\n              {ENI_IP}: "1"\n', ""),
        f"document 1: spec.template.spec.containers[0].resources.limits: {ENI_IP} is "
        'missing; allowed: "1"',
    ),
    "two addresses": (
        STATEFUL_SET.replace(f'{ENI_IP}: "1"', f'{ENI_IP}: "2"'),
        f"document 1: spec.template.spec.containers[0].resources.limits[{ENI_IP}]: '2' is "
        'not allowed; allowed: "1"',
    ),
    "the other mode's resource": (
        STATEFUL_SET.replace("eni-ip", "direct-eni"),
        "document 1: spec.template.spec.containers: tke.cloud.tencent.com/direct-eni does not "
        f"belong to {NETWORKS}: tke-route-eni; allowed: {ENI_IP}",
    ),
    "the node's own network": (
        changed(
            "    spec:\n      containers",
            "    spec:\n      hostNetwork: true\n      containers",
        ),
        "document 1: spec.template.spec.hostNetwork: True is not allowed; allowed: false or "
        f"absent beside {NETWORKS}, as such a pod has its node's address",
    ),
    "a name that is none": (
        changed("  name: web\nspec", "  name: Web_1\nspec"),
        "document 1: metadata.name: 'Web_1' is not allowed; allowed: 1 to 63 of a-z, 0-9 "
        "and '-', a letter or digit at both ends",
    ),
    "a namespace that is none": (
        POD.replace("tools", "a.b"),
        "document 1: metadata.namespace: 'a.b' is not allowed; allowed: 1 to 63 of a-z, 0-9 "
        "and '-', a letter or digit at both ends",
    ),
    "a pod name too long": (
        changed("  name: web\nspec", f"  name: {'w' * 62}\nspec"),
        f"document 1: metadata.name: pod name '{'w' * 62}-1' is 64 characters long; "
        "allowed: at most 63",
    ),
    "a selector of other pods": (
        changed("matchLabels: {app: web}", "matchLabels: {app: api}"),
        "document 1: spec.selector.matchLabels[app]: 'api' is not allowed; allowed: what "
        "spec.template.metadata.labels has: 'web'",
    ),
    "one name twice": (
        f"{POD}---\n{POD}",
        "document 2: metadata.name: Pod tools/alone is in document 1 already; "
        "allowed: a name of its own",
    ),
}


@pytest.mark.parametrize(("text", "line"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_used_is_named(text: str, line: str) -> None:
    assert refusal(text) == line


def test_a_document_nested_without_end_is_refused_in_one_line() -> None:
    assert refusal("[" * 100_000).startswith("not YAML that can be read")


def test_a_refusal_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("a: [1")

    with pytest.raises(InvalidInput, match=r"bad\.yaml: not YAML: line 1"):
        read_manifest(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none\.yaml: cannot be read: No such file"):
        read_manifest(tmp_path / "none.yaml")


def test_a_file_too_long_or_not_text_is_refused(tmp_path: Path) -> None:
    long, binary = tmp_path / "long.yaml", tmp_path / "binary.yaml"
    long.write_bytes(b"#" * ((1 << 20) + 1))
    binary.write_bytes(b"a: \xff")

    with pytest.raises(InvalidInput, match="longer than the 1 MiB allowed"):
        read_manifest(long)
    with pytest.raises(InvalidInput, match="byte 3 is not UTF-8"):
        read_manifest(binary)
