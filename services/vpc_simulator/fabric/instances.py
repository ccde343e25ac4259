"""Where the namespaces of instances are: the file that a running fabric keeps in its folder.

Whoever starts something on an instance asks here for the command line that runs it there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.errors import NotFound, Unavailable
from shared.ids import InstanceId
from shared.kernel.enter import enter_command
from shared.kernel.processes import started_at

FILE_NAME: Final = "fabric.json"


class InstanceNamespaces(BaseModel):
    """The process that holds the network, and each instance's namespace in it.

    `outside` is among the instances: the host beyond the VPC.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    pid: int
    started: int  # clock ticks after boot: tells a process from a later one of the same number
    instances: dict[InstanceId, str]  # path of the network namespace

    @classmethod
    def load(cls, run_dir: Path) -> InstanceNamespaces:
        """Raises Unavailable when no network runs there."""
        path = run_dir / FILE_NAME
        try:
            found = cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise Unavailable(f"{path}: no simulated network runs here") from error
        if started_at(found.pid) != found.started:
            raise Unavailable(f"{path}: the simulated network of this file has ended")
        return found

    def save(self, run_dir: Path) -> None:
        """Whoever reads the file reads all of it; other users cannot."""
        partial = run_dir / f".{FILE_NAME}.{os.getpid()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with os.fdopen(os.open(partial, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(self.model_dump_json())
        partial.replace(run_dir / FILE_NAME)

    def enter_command(self, instance: InstanceId, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` on an instance. Raises NotFound."""
        if instance not in self.instances:
            known = ", ".join(sorted(self.instances)) or "none"
            raise NotFound(f"instance {instance!r} has no network here; known: {known}")
        return enter_command(self.pid, self.instances[instance], list(argv))
