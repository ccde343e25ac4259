"""As much of kustomize as deploy/ uses: resources, files as ConfigMaps, JSON patches."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.support.kubernetes.kinds import Object
from tests.support.kubernetes.patches import JSON_PATCH, patched
from tests.support.paths import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
_KNOWN = {"apiVersion", "kind", "resources", "patches", "configMapGenerator"}
_PLAIN_NAMES = {"disableNameSuffixHash": True}


def build(folder: Path) -> list[Object]:
    """What `kubectl apply -k` would apply. Anything else in the file fails."""
    text = (folder / "kustomization.yaml").read_text(encoding="utf-8")
    kustomization: Object = yaml.safe_load(text)
    options = kustomization.pop("generatorOptions", _PLAIN_NAMES)
    assert options == _PLAIN_NAMES, f"{folder}: {options}"
    assert set(kustomization) <= _KNOWN, f"{folder}: {set(kustomization) - _KNOWN}"
    found: list[Object] = []
    for name in kustomization["resources"]:
        path = folder / name
        found += build(path) if path.is_dir() else documents(path)
    found += [_generated(folder, each) for each in kustomization.get("configMapGenerator", [])]
    for patch in kustomization.get("patches", []):
        target = patch["target"]
        assert set(target) == {"kind", "name"}, f"{folder}: target {target}"
        chosen = [at for at, each in enumerate(found) if _is(each, **target)]
        assert len(chosen) == 1, f"{folder}: {target} names {len(chosen)} objects"
        operations = yaml.safe_load(patch["patch"])
        found[chosen[0]] = patched(JSON_PATCH, found[chosen[0]], operations)
    return found


def _generated(folder: Path, generator: Object) -> Object:
    assert set(generator) == {"name", "namespace", "files"}, f"{folder}: {generator}"
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": generator["name"], "namespace": generator["namespace"]},
        "data": {name: (folder / name).read_text("utf-8") for name in generator["files"]},
    }


def documents(path: Path) -> list[Object]:
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]


def _is(found: Object, *, kind: str, name: str) -> bool:
    return bool(found["kind"] == kind and found["metadata"]["name"] == name)
