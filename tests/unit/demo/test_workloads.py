"""What the demo can run, and the line for what it cannot."""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path

import pytest

from berth.demo.workloads import choose, visitors
from shared.annotations import DeletePolicy
from shared.errors import InvalidInput
from tests.support.paths import EXAMPLE


def test_without_a_manifest_the_example_is_run() -> None:
    chosen = choose(None, random.Random(1))

    assert [pod.name.name for pod in chosen.pods] == ["busybox-0", "busybox-1", "busybox-2"]


def test_the_demos_own_pods_are_alike_and_never_of_one_name() -> None:
    pods = list(islice(visitors(random.Random(1)), 3))

    assert len({pod.name for pod in pods}) == len({pod.uid for pod in pods}) == 3
    assert {pod.owner for pod in pods} == {pods[0].owner}
    assert pods[0].network.policy is DeletePolicy.IMMEDIATE


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "replicas: 3",
            "replicas: 25",
            "25 pods; allowed: at most 24 in the demo",
        ),
        (
            "route-eni",
            "direct-eni",
            "3 pods with tke-direct-eni; allowed: at most 2 in the demo, as each has an ENI of "
            "its own",
        ),
    ],
)
def test_what_cannot_be_run_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    manifest = tmp_path / "web.yaml"
    text = EXAMPLE.read_text().replace(old, new)
    manifest.write_text(text.replace("eni-ip", "direct-eni") if "direct" in new else text)

    with pytest.raises(InvalidInput) as refused:
        choose(manifest, random.Random(1))

    assert str(refused.value) == f"manifest {manifest}: {words}"
