"""How a service under test is told of the API server: by a kubeconfig."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.support.kubernetes.server import ApiServer


def kubeconfig(server: ApiServer, folder: Path) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server.url}}],
        "users": [{"name": "u", "user": {"token": server.token}}],
    }
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return file
