"""What a pod is, from a folder of Kubernetes Pod objects (demo, `berth up`, tests), or nowhere.

A file is named ``<namespace>_<name>.json``; whoever writes it renames it into place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.node_agent.domain.ports import KnownPod
from shared.annotations import parse_pod_network
from shared.errors import PodUnknown
from shared.ids import PodName, PodUid

POD_BYTES_MAX: Final = 1 << 20


class _Metadata(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str
    namespace: str
    uid: Annotated[str, Field(min_length=1, max_length=253)]
    annotations: dict[str, str] = {}


class _Pod(BaseModel):
    model_config = ConfigDict(extra="ignore")

    metadata: _Metadata


class FolderPods:
    """Reads one file per question: the folder is small and local."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def find(self, name: PodName, uid: PodUid | None) -> KnownPod:
        """Raises PodUnknown when the file is absent, unreadable or of another pod."""
        pod = self._read(name)
        if (pod.metadata.namespace, pod.metadata.name) != (name.namespace, name.name):
            raise PodUnknown(f"pod {name}: its file tells of another pod")
        if uid is not None and pod.metadata.uid != uid:
            raise PodUnknown(f"pod {name}: known with uid {pod.metadata.uid}, asked for {uid}")
        return KnownPod(
            name=name,
            uid=PodUid(pod.metadata.uid),
            network=parse_pod_network(pod.metadata.annotations),
        )

    def _read(self, name: PodName) -> _Pod:
        file_name = f"{name.namespace}_{name.name}.json"
        if "/" in file_name or "\0" in file_name:
            raise PodUnknown(f"pod {name}: no pod has such a name")
        try:
            with (self._folder / file_name).open("rb") as file:
                return _Pod.model_validate_json(file.read(POD_BYTES_MAX))
        except FileNotFoundError:
            raise PodUnknown(f"pod {name} is not known (yet) on this node") from None
        except (OSError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            raise PodUnknown(f"pod {name}: {file_name} cannot be read: {reason}") from error


class NoPods:
    """No source at all: only attachments that name no pod, or ask for none, are served."""

    async def find(self, name: PodName, uid: PodUid | None) -> KnownPod:
        raise PodUnknown(f"pod {name}: this agent was told of no pod source")
