"""Dockerfile and compose file: what they name is there, and what images leave out."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import yaml

from berth.cluster_keys import ClusterPlan, make_cluster_keys
from services.allocator.config import AllocatorSettings
from services.eni_manager.config import EniManagerSettings
from services.node_agent.config import NodeAgentSettings
from shared.clock import SystemClock
from shared.ids import ClusterName, NodeName
from shared.settings import ServiceSettings, load_settings
from tests.support.deployed import deployed
from tests.support.kubernetes.kinds import Object
from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"
SERVICES: dict[str, type[ServiceSettings]] = {
    "allocator": AllocatorSettings,
    "eni-manager": EniManagerSettings,
    "agent": NodeAgentSettings,
}
PINNED = re.compile(r"^[a-z/-]+:\d+\.\d+\.\d+[a-z0-9.-]*$")


def dockerfile() -> list[list[str]]:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [shlex.split(line, comments=True) for line in text.splitlines() if line.strip("# ")]


def steps(name: str) -> list[list[str]]:
    return [step[1:] for step in dockerfile() if step and step[0] == name]


def compose() -> Object:
    found: Object = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return found


def test_every_base_is_pinned_and_the_same() -> None:
    bases = {step[0] for step in steps("FROM")}

    assert len(bases) == 1
    assert all(PINNED.match(each) for each in bases)


def test_what_is_copied_is_there_and_let_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [
        each for step in steps("COPY") if not step[0].startswith("--") for each in step[:-1]
    ]

    assert "tests" not in copied
    assert all((ROOT / each).exists() for each in copied)
    assert all(f"!{each}" in ignored for each in copied)


def test_the_images_that_are_built_are_the_ones_that_run() -> None:
    built = {step[2] for step in steps("FROM")} - {"build"}
    ours = {
        container["image"]
        for workload in deployed("ha").workloads()
        for container in workload.containers()
        if container["image"].startswith("berth")
    }
    run = {each["image"] for each in compose()["services"].values()}
    version = re.search(
        r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )

    assert built == {"control", "agent"}
    assert version is not None
    assert ours == {f"berth:{version[1]}", f"berth-node-agent:{version[1]}"}
    assert ours <= run
    assert all(PINNED.match(each) for each in run)


def test_the_command_line_does_without_the_simulated_cloud() -> None:
    script = (
        "import sys, importlib.abc\n"
        "class Gone(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.startswith('services.vpc_simulator'):\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Gone())\n"
        "import importlib.util\n"
        "importlib.util.find_spec = lambda name: None\n"
        "import berth.main\n"
        "print([each.name or each.callback.__name__ for each in"
        " berth.main.app.registered_commands])\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "'status'" in done.stdout
    assert "'demo'" not in done.stdout


def test_services_of_people_run_as_nobody() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    control = text.split(" AS control\n")[1].split("FROM")[0]

    assert "USER 65532:65532" in control


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_setting_of_the_compose_file_is_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = ClusterPlan(
        cluster=ClusterName("one"),
        hosts=(_loopback(),),
        region="ap-guangzhou",
        agents=(NodeName("here"),),
    )
    keys = make_cluster_keys(plan, SystemClock().now())
    environment = keys.settings | compose()["services"][name]["environment"]
    for variable, value in environment.items():
        monkeypatch.setenv(variable, str(value))

    found = load_settings(SERVICES[name], None, environment)

    assert found.nats_key_file == Path("/keys/bus.nk")


@pytest.mark.parametrize("name", [*sorted(SERVICES), "bus", "store", "sentinel"])
def test_every_volume_of_the_compose_file_is_made(name: str) -> None:
    plan = ClusterPlan(
        cluster=ClusterName("one"),
        hosts=(_loopback(),),
        region="ap-guangzhou",
        agents=(NodeName("here"),),
    )
    made = {"ca.crt", "settings.env", "cloud-id", "cloud-key"}  # the last two by people
    made |= set(make_cluster_keys(plan, SystemClock().now()).secrets)
    for volume in compose()["services"][name]["volumes"]:
        source = volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
        if source.startswith("./keys/"):
            wanted = volume.removeprefix("./keys/").replace("${NODE:?}:", "here:")
            assert wanted.split(":")[0] in made
        elif source.startswith("./"):
            assert (DEPLOY / source).exists()
        else:
            assert source.startswith("/") or source in compose()["volumes"]


def _loopback() -> IPv4Address:
    return IPv4Address("127.0.0.1")
