"""docs/install.md says what is so."""

from __future__ import annotations

import ast
import json
import re

from services.eni_manager.config import DOCUMENTED_RATES_PER_S
from tests.support.deployed import deployed
from tests.support.kustomize import KUBERNETES
from tests.support.paths import ROOT

PAGE = (ROOT / "docs/install.md").read_text(encoding="utf-8")
ADAPTERS = ROOT / "services/eni_manager/adapters"


def calls_of_the_code() -> set[str]:
    """Methods of the VPC client that are used, and actions of the one generic client."""
    found: set[str] = set()
    for file in ADAPTERS.glob("tencent*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self.vpc":
                found.add(f"vpc:{node.attr}")
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found |= _actions_of_generic_client(node)
    return found - {"vpc:close"}


def _actions_of_generic_client(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    source = ast.unparse(function)
    if "self.cvm.call" not in source or function.name == "ask":
        return set()
    return {f"cvm:{action}" for action in re.findall(r"action = '(\w+)'", source)}


def test_the_policy_is_exactly_what_the_code_calls() -> None:
    policy = json.loads(PAGE.split("```json\n")[1].split("```")[0])
    actions = policy["statement"][0]["action"]

    assert set(actions) == calls_of_the_code()
    assert actions == sorted(actions)
    assert {each.partition(":")[2] for each in actions} <= set(DOCUMENTED_RATES_PER_S)


def test_every_port_of_the_manifests_is_told() -> None:
    ports = {
        port["hostPort"]
        for workload in deployed("ha").workloads()
        for container in workload.containers()
        for port in container.get("ports", [])
    }
    told = {
        int(each)
        for row in re.findall(r"^\| ([\d, ]+) \|", PAGE, re.MULTILINE)
        for each in row.split(", ")
    }

    assert told == ports


def test_what_the_page_names_is_there() -> None:
    label = "networking.tke.cloud.tencent.com/berth-store"

    assert (KUBERNETES / "overlays/ha/kustomization.yaml").exists()
    assert f"{label}=true" in PAGE
    assert all(
        deployed("ha").workload(name).pod["nodeSelector"] == {label: "true"}
        for name in ("bus", "store")
    )
