"""How many pods a workload may have at once, by its Kubernetes object."""

from __future__ import annotations

import json

import pytest

from shared.errors import InvalidInput
from shared.ids import WorkloadName
from shared.workloads import file_name, parse_workload


def body(kind: str, **spec: object) -> bytes:
    return json.dumps(
        {"kind": kind, "metadata": {"namespace": "shop", "name": "web"}, "spec": spec}
    ).encode()


@pytest.mark.parametrize(
    ("kind", "spec", "pods_max"),
    [
        ("Deployment", {"replicas": 3, "strategy": {"rollingUpdate": {"maxSurge": 1}}}, 4),
        ("Deployment", {"replicas": 5, "strategy": {"rollingUpdate": {"maxSurge": "30%"}}}, 7),
        ("Deployment", {"replicas": 3}, 4),
        ("Deployment", {"replicas": 3, "strategy": {"type": "Recreate"}}, 3),
        ("Deployment", {"replicas": 0, "strategy": {"type": "Recreate"}}, 1),
        ("ReplicaSet", {"replicas": 7}, 7),
        ("Job", {"parallelism": 6, "replicas": 1}, 6),
    ],
)
def test_the_pods_there_may_be_at_once(
    kind: str, spec: dict[str, object], pods_max: int
) -> None:
    assert parse_workload(body(kind, **spec), "web.json").pods_max == pods_max


def test_ordinals_count_from_where_the_set_begins() -> None:
    web = parse_workload(body("StatefulSet", replicas=2, ordinals={"start": 5}), "web.json")

    assert list(web.ordinals) == [5, 6]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (body("Deployment", replicas=-1), "spec.replicas"),
        (body("Deployment", strategy={"rollingUpdate": {"maxSurge": "some"}}), "maxSurge"),
        (body("CloneSet"), "kind"),
        (b"{", "body"),
        (body("Deployment").replace(b'"web"', b'"a#b"'), "metadata.name"),
    ],
)
def test_what_cannot_be_read_names_its_field(text: bytes, field: str) -> None:
    with pytest.raises(InvalidInput, match=f"web.json: .*{field}"):
        parse_workload(text, "web.json")


def test_workloads_of_one_name_have_files_of_their_own() -> None:
    names = {file_name(WorkloadName("shop", kind, "web")) for kind in ("Job", "Deployment")}

    assert names == {"shop_Job_web.json", "shop_Deployment_web.json"}
