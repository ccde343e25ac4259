"""Settings of the simulated cloud: from the command line, else from BERTH_SIMULATOR_*."""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from shared.errors import InvalidInput

PREFIX: Final = "BERTH_SIMULATOR_"

Seconds = Annotated[float, Field(gt=0, le=3600)]


class Secrets(BaseModel):
    """Never in arguments: every user of a machine can read those."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    secret_id: Annotated[str, Field(min_length=1)]
    """Of the account that may call the API."""
    secret_key: Annotated[SecretStr, Field(min_length=1)]
    """What its calls are signed with."""
    admin_token: SecretStr = SecretStr("")
    """Opens /admin/; without it, that door stays shut."""


class SimulatorSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: str = "127.0.0.1:0"
    """Address and port of the API; port 0 takes a free one."""
    topology: Path
    """YAML file with the cloud to begin with."""
    wireless: bool = False
    """A cloud without a packet: any number of instances, no network."""
    ready_file: Path | None = None
    """Written when the API answers, with its address; gone again at the end."""
    run_dir: Path = Path("/run/berth")
    """Where the network keeps its sockets and namespaces."""
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"

    secret_file: Path | None = None
    """YAML file with `secret_id`, `secret_key`, `admin_token`, readable by its owner alone."""
    secret_id: SecretStr = SecretStr("")
    secret_key: SecretStr = SecretStr("")
    admin_token: SecretStr = SecretStr("")

    in_flight_max: Annotated[int, Field(ge=1)] = 2000
    """Calls being served at once; more are refused."""
    body_bytes_max: Annotated[int, Field(ge=1024)] = 262_144
    body_read_timeout_s: Seconds = 10.0
    """For a caller to send its body."""
    effects_at_once_max: Annotated[int, Field(ge=1)] = 64
    """Changes being made in the network at once; more wait."""
    effect_timeout_s: Seconds = 30.0
    """For the network to obey one change."""
    client_tokens_kept_max: Annotated[int, Field(ge=1)] = 100_000
    faults_waiting_max: Annotated[int, Field(ge=1)] = 10_000
    """Per action."""
    drain_grace_s: Seconds = 5.0
    """For calls and changes under way to end, each."""

    def address(self) -> tuple[str, int]:
        host, _, port = self.listen.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise InvalidInput.of("listen", self.listen, "ADDRESS:PORT")
        return host, int(port)

    def secrets(self) -> Secrets:
        """From the file where one is named, else from the environment."""
        if self.secret_file is not None:
            return _read_secrets(self.secret_file)
        if not self.secret_id.get_secret_value() or not self.secret_key.get_secret_value():
            raise InvalidInput(
                f"credentials are missing: set {PREFIX}SECRET_ID and {PREFIX}SECRET_KEY,"
                f" or {PREFIX}SECRET_FILE"
            )
        return Secrets(
            secret_id=self.secret_id.get_secret_value(),
            secret_key=self.secret_key,
            admin_token=self.admin_token,
        )


def parse_settings(
    arguments: Sequence[str], environment: Mapping[str, str]
) -> SimulatorSettings:
    """Raises InvalidInput; exits for --help, --version and arguments that are none."""
    given = vars(_parser().parse_args(arguments))
    values: dict[str, object] = _from_environment(environment)
    values |= {name: value for name, value in given.items() if value is not None}
    try:
        return SimulatorSettings.model_validate(values)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=True)[0]
        name = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == "missing":
            raise InvalidInput(
                f"{name}: is missing; give --{name} or set {PREFIX}{name.upper()}"
            ) from error
        allowed = detail["msg"].removeprefix("Input should be ")
        raise InvalidInput.of(name, detail["input"], allowed) from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    named = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX)
    }
    if unknown := sorted(named.keys() - SimulatorSettings.model_fields.keys()):
        known = ", ".join(PREFIX + name.upper() for name in SimulatorSettings.model_fields)
        raise InvalidInput(f"{PREFIX}{unknown[0].upper()} is no setting; known: {known}")
    return dict(named)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="berth-vpc-simulator",
        description="A VPC on one machine: the cloud's own API over HTTP,"
        " and a network that obeys it.",
        epilog=f"Every setting can also be given as {PREFIX}<NAME>; secrets only so, or in the"
        f" file that {PREFIX}SECRET_FILE names.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    parser.add_argument("--listen", metavar="ADDRESS:PORT", help="where the API answers")
    parser.add_argument("--topology", metavar="FILE", help="YAML file with the cloud")
    parser.add_argument(
        "--wireless", action="store_true", default=None, help="no network: the API alone"
    )
    parser.add_argument("--ready-file", metavar="FILE", help="written when the API answers")
    parser.add_argument("--run-dir", metavar="DIR", help="where the network keeps its files")
    parser.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error")
    return parser


def _version() -> str:
    try:
        return version("berth")
    except PackageNotFoundError:  # run from the source tree
        return "(not installed)"


def _read_secrets(path: Path) -> Secrets:
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
        if mode & 0o077:
            raise InvalidInput.of(f"secret file {path}: mode", f"{mode:04o}", "0600 or 0400")
        return Secrets.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise InvalidInput(f"secret file {path}: cannot be read: {error}") from error
    except ValidationError as error:
        # Not the value: it may be a secret.
        names = ".".join(str(part) for part in error.errors()[0]["loc"]) or "document"
        raise InvalidInput(f"secret file {path}: {names} is missing or not allowed") from None
