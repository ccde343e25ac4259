"""No bootstrap deadlock: what pods' addresses need, needs no pod's address itself.

Bus, store, allocator, eni_manager, webhook and agent are on the node's network, tolerate our
taints, need neither the cluster's DNS nor the webhook, and no volume of a driver.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from urllib.parse import urlsplit

import pytest

from tests.support.deployed import OVERLAYS, Deployed, Workload, deployed
from tests.support.kubernetes.kinds import Object

OURS = "berth-system"
TAINTS = (  # of a node that has not come up yet
    "tke.cloud.tencent.com/eni-ip-unavailable",
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/network-unavailable",
    "node.cloudprovider.kubernetes.io/uninitialized",
)
BUILT_IN_CLASSES = {"system-node-critical", "system-cluster-critical"}
VOLUMES_OF_THE_NODE = {"hostPath", "secret", "configMap", "projected", "emptyDir"}

NEEDED = (
    *("bus", "store"),
    *("berth-allocator", "berth-eni-manager", "berth-node-agent", "berth-operator"),
)


@pytest.fixture(params=sorted(OVERLAYS))
def overlay(request: pytest.FixtureRequest) -> Deployed:
    return deployed(request.param)


@pytest.fixture(params=NEEDED)
def workload(overlay: Deployed, request: pytest.FixtureRequest) -> Workload:
    return overlay.workload(request.param)


def test_nothing_else_runs_there(overlay: Deployed) -> None:
    assert {each.name for each in overlay.workloads()} == set(NEEDED)


def test_each_is_on_the_nodes_network(workload: Workload) -> None:
    assert workload.pod["hostNetwork"] is True


@pytest.mark.parametrize("taint", TAINTS)
def test_each_tolerates_a_node_that_is_not_up(workload: Workload, taint: str) -> None:
    assert any(_tolerates(each, taint) for each in workload.pod["tolerations"])


def _tolerates(toleration: Object, taint: str) -> bool:
    assert toleration["operator"] == "Exists"
    effect = toleration.get("effect", "NoSchedule")
    return bool(toleration.get("key", taint) == taint and effect == "NoSchedule")


def test_none_asks_the_clusters_dns(workload: Workload) -> None:
    assert workload.pod["dnsPolicy"] == "Default"


def test_every_address_is_a_nodes(overlay: Deployed, workload: Workload) -> None:
    for container in workload.containers():
        environment = overlay.environment(container)
        for name, value in environment.items():
            if name.endswith("_URL"):
                assert all(_is_an_address(each) for each in _hosts(value)), f"{name}: {value}"
            assert ".svc" not in value
            assert "$(" not in value, f"{name}: {value} is answered by nothing"


def _hosts(url: str) -> list[str]:
    return [
        urlsplit(each if "//" in each else f"//{each}").hostname or ""
        for each in url.split(",")
    ]


def _is_an_address(host: str) -> bool:
    return bool(IPv4Address(host))


def test_bus_and_store_find_each_other_by_addresses(overlay: Deployed) -> None:
    secrets = overlay.keys.secrets
    for text in (secrets["berth-bus"]["nats.conf"], secrets["berth-store"]["sentinel.monitor"]):
        assert "svc" not in text
    assert all(_is_an_address(each) for each in secrets["berth-store"]["hosts"].split())


def test_none_gets_variables_that_would_be_settings(
    overlay: Deployed, workload: Workload
) -> None:
    services = [each["metadata"]["name"] for each in overlay.built if each["kind"] == "Service"]

    assert workload.pod["enableServiceLinks"] is False
    assert not [each for each in services if each.startswith("berth")]


def test_none_waits_for_a_volume_of_a_driver(workload: Workload) -> None:
    for volume in workload.pod["volumes"]:
        assert set(volume) - {"name"} <= VOLUMES_OF_THE_NODE, volume


def test_none_is_put_off_for_another_pod(workload: Workload) -> None:
    assert workload.pod["priorityClassName"] in BUILT_IN_CLASSES


def test_no_start_waits_for_the_webhook(overlay: Deployed) -> None:
    namespaces = {
        OURS: {"kubernetes.io/metadata.name": OURS},
        "kube-system": {"kubernetes.io/metadata.name": "kube-system"},
        "left-alone": {
            "kubernetes.io/metadata.name": "left-alone",
            "networking.tke.cloud.tencent.com/berth": "ignored",
        },
        "shop": {"kubernetes.io/metadata.name": "shop"},
    }
    configurations = [each for each in overlay.built if "webhooks" in each]
    assert len(configurations) == 2
    for configuration in configurations:
        for webhook in configuration["webhooks"]:
            asked = {
                name
                for name, labels in namespaces.items()
                if _selects(webhook["namespaceSelector"], labels)
            }
            assert asked == {"shop"}
            assert webhook["failurePolicy"] == "Ignore"
            assert webhook["timeoutSeconds"] <= 5
            assert [each["resources"] for each in webhook["rules"]] == [["pods"]]


def _selects(selector: Object, labels: dict[str, str]) -> bool:
    assert all(each["operator"] == "NotIn" for each in selector["matchExpressions"])
    return all(
        labels.get(each["key"]) not in each["values"] for each in selector["matchExpressions"]
    )


def test_an_update_of_the_agent_cuts_no_pod(overlay: Deployed) -> None:
    agent = overlay.workload("berth-node-agent")
    container = agent.container("agent")
    paths = {
        each["name"]: each.get("hostPath", {}).get("path") for each in agent.pod["volumes"]
    }
    mounts = {each["mountPath"]: paths[each["name"]] for each in container["volumeMounts"]}
    environment = overlay.environment(container)

    assert agent.found["spec"]["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 1},
    }
    # The plugin runs on the node: what it is told must be there under the same path.
    for setting in (
        *("BERTH_RUN_DIR", "BERTH_STATE_DIR"),
        *("BERTH_NODE_AGENT_CNI_CONF_DIR", "BERTH_NODE_AGENT_CNI_BIN_DIR"),
    ):
        assert mounts[environment[setting]] == environment[setting]
    assert environment["BERTH_RUN_DIR"].startswith("/run/")  # the node's tmpfs
    # What outlives a pod is written by rename into whole folders, never into a mounted file.
    assert all(
        "subPath" not in each for one in agent.containers() for each in one["volumeMounts"]
    )
    assert not agent.pod.get("hostPID")
