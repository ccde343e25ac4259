"""The manifests as a cluster would run them: built, beside what `berth keys` makes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from ipaddress import IPv4Address

from berth.cluster_keys import ClusterKeys, ClusterPlan, make_cluster_keys
from berth.commands.keys import manifests as key_manifests
from shared.ids import ClusterName
from tests.support.kubernetes.kinds import Object
from tests.support.kustomize import KUBERNETES, build

OVERLAYS = {"dev": 1, "ha": 3}  # and how many nodes they are for
_WORKLOADS = ("DaemonSet", "Deployment", "StatefulSet")
_SAID_BY_NODE = {"spec.nodeName": "node-1", "status.hostIP": "10.0.0.11"}
_REFERENCE = re.compile(r"\$\(([A-Z_]+)\)")


def cluster_keys(hosts: int) -> ClusterKeys:
    addresses = tuple(IPv4Address("10.0.0.11") + at for at in range(hosts))
    plan = ClusterPlan(cluster=ClusterName("c1"), hosts=addresses, region="ap-guangzhou")
    return make_cluster_keys(plan, datetime(2026, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Workload:
    """A DaemonSet or Deployment, and the pod it makes."""

    found: Object

    @property
    def name(self) -> str:
        return str(self.found["metadata"]["name"])

    @property
    def pod(self) -> Object:
        spec: Object = self.found["spec"]["template"]["spec"]
        return spec

    def containers(self, *, with_init: bool = True) -> Iterator[Object]:
        yield from self.pod["containers"]
        if with_init:
            yield from self.pod.get("initContainers", [])

    def container(self, name: str) -> Object:
        return next(each for each in self.containers() if each["name"] == name)


class Deployed:
    """One overlay with its keys."""

    def __init__(self, overlay: str) -> None:
        self.built = build(KUBERNETES / "overlays" / overlay)
        self.keys = cluster_keys(OVERLAYS[overlay])
        self.made = key_manifests(self.keys)

    def find(self, kind: str, name: str) -> Object:
        return next(
            each
            for each in [*self.built, *self.made]
            if (each["kind"], each["metadata"]["name"]) == (kind, name)
        )

    def workloads(self) -> list[Workload]:
        return [Workload(each) for each in self.built if each["kind"] in _WORKLOADS]

    def workload(self, name: str) -> Workload:
        return next(each for each in self.workloads() if each.name == name)

    def environment(self, container: Object) -> dict[str, str]:
        """As kubelet makes it; a reference that nothing answers stays as it is."""
        found: dict[str, str] = {}
        for source in container.get("envFrom", []):
            found |= self.find("ConfigMap", source["configMapRef"]["name"])["data"]
        for each in container.get("env", []):
            if "valueFrom" in each:
                found[each["name"]] = _SAID_BY_NODE[each["valueFrom"]["fieldRef"]["fieldPath"]]
            else:
                found[each["name"]] = _REFERENCE.sub(
                    lambda name: found.get(name[1], name[0]), str(each["value"])
                )
        return found


@cache
def deployed(overlay: str) -> Deployed:
    return Deployed(overlay)
