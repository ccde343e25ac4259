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
from berth.manifests.reader import Manifest, parse_manifest, read_manifest
from shared.annotations import NetworkMode
from shared.errors import InvalidInput
from shared.ids import PodName

PODS_MAX: Final = 24  # what three small nodes can hold, with room for the demo's own pods

WHOLE_MAX: Final = 2  # ENIs that two small nodes have left beside shared ones and the demo's

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


WHOLE: Final = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: guest}
spec:
  replicas: 1
  selector: {matchLabels: {app: guest}}
  template:
    metadata:
      labels: {app: guest}
      annotations: {tke.cloud.tencent.com/networks: tke-direct-eni}
    spec:
      containers:
        - name: guest
          image: busybox
          resources: {limits: {tke.cloud.tencent.com/direct-eni: "1"}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: keeper}
spec:
  replicas: 1
  serviceName: keeper
  selector: {matchLabels: {app: keeper}}
  template:
    metadata:
      labels: {app: keeper}
      annotations:
        tke.cloud.tencent.com/networks: tke-direct-eni
        tke.cloud.tencent.com/vpc-ip-claim-delete-policy: Never
    spec:
      containers:
        - name: keeper
          image: busybox
          resources: {limits: {tke.cloud.tencent.com/direct-eni: "1"}}
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


def guest(rng: random.Random) -> PodSpec:
    """The demo's own `Immediate` pod that has an ENI of its own."""
    return pods_of(parse_manifest(WHOLE), rng)[0]


def keeper(rng: random.Random) -> PodSpec:
    """The demo's own fixed pod that has an ENI of its own."""
    return pods_of(parse_manifest(WHOLE), rng)[1]


def _example() -> str:
    """Beside this file in an installed Berth; among the examples in a source tree."""
    packed = resources.files("berth.demo").joinpath("statefulset.yaml")
    if packed.is_file():
        return packed.read_text(encoding="utf-8")
    root = Path(__file__).resolve().parents[2]
    return (root / "deploy" / "examples" / "statefulset.yaml").read_text(encoding="utf-8")


def _checked(source: str, manifest: Manifest, rng: random.Random) -> Chosen:
    pods = tuple(pods_of(manifest, rng))
    if len(pods) > PODS_MAX:
        raise InvalidInput(
            f"manifest {source}: {len(pods)} pods; allowed: at most {PODS_MAX} in the demo"
        )
    whole = sum(pod.network.mode is NetworkMode.EXCLUSIVE for pod in pods)
    if whole > WHOLE_MAX:
        raise InvalidInput(
            f"manifest {source}: {whole} pods with {NetworkMode.EXCLUSIVE}; allowed: at most"
            f" {WHOLE_MAX} in the demo, as each has an ENI of its own"
        )
    return Chosen(source=source, manifest=manifest, pods=pods)
