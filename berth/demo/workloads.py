"""Which manifests the demo runs: the user's, or the example; and its own `Immediate` one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Final

from berth.manifests.names import generated_name
from berth.manifests.pods import PodSpec, new_uid, pods_of
from berth.manifests.reader import Manifest, Workload, parse_manifest, read_manifest
from shared.annotations import NetworkMode
from shared.errors import InvalidInput
from shared.ids import PodName

PODS_MAX: Final = 24  # what three small nodes can hold, with room for the demo's own pods

IMMEDIATE: Final = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: visitor}
spec:
  replicas: 1
  selector: {matchLabels: {app: visitor}}
  template:
    metadata:
      labels: {app: visitor}
      annotations:
        tke.cloud.tencent.com/networks: tke-route-eni
        tke.cloud.tencent.com/vpc-ip-claim-delete-policy: Immediate
    spec:
      containers:
        - name: visitor
          image: busybox
          resources:
            requests: {tke.cloud.tencent.com/eni-ip: "1"}
            limits: {tke.cloud.tencent.com/eni-ip: "1"}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A checked manifest and its pods, in the order they are to start."""

    source: str
    manifest: Manifest
    pods: tuple[PodSpec, ...]


def choose(path: Path | None, rng: random.Random) -> Chosen:
    """Raises InvalidInput in one line for what cannot be run; nothing was started then."""
    if path is not None:
        return _checked(str(path), read_manifest(path), rng)
    return _checked("the example StatefulSet", parse_manifest(_example()), rng)


def visitors(rng: random.Random) -> Iterator[PodSpec]:
    """The pods that the demo's own Deployment makes, one after the other, without end."""
    pod = pods_of(parse_manifest(IMMEDIATE), rng)[0]
    base = pod.name.name.rpartition("-")[0]
    while True:
        yield pod
        name = PodName(pod.name.namespace, generated_name(f"{base}-", rng))
        pod = replace(pod, name=name, uid=new_uid(rng))


def _example() -> str:
    """Beside this file in an installed Berth; among the examples in a source tree."""
    packed = resources.files("berth.demo").joinpath("statefulset.yaml")
    if packed.is_file():
        return packed.read_text(encoding="utf-8")
    root = Path(__file__).resolve().parents[2]
    return (root / "deploy" / "examples" / "statefulset.yaml").read_text(encoding="utf-8")


def _checked(source: str, manifest: Manifest, rng: random.Random) -> Chosen:
    for workload in manifest.workloads:
        _check_mode(source, workload)
    pods = tuple(pods_of(manifest, rng))
    if len(pods) > PODS_MAX:
        raise InvalidInput(
            f"manifest {source}: {len(pods)} pods; allowed: at most {PODS_MAX} in the demo"
        )
    return Chosen(source=source, manifest=manifest, pods=pods)


def _check_mode(source: str, workload: Workload) -> None:
    if workload.network.mode is NetworkMode.EXCLUSIVE:
        raise InvalidInput(
            f"manifest {source}: document {workload.document}: networks: "
            f"{NetworkMode.EXCLUSIVE.value!r} cannot be run in this release; "
            f"allowed: {NetworkMode.SHARED.value}"
        )
