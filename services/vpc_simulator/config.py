"""Settings of the simulated cloud, and its secrets, which never travel in arguments."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated, ClassVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from services.vpc_simulator.model.enis import MAIN_ACCOUNT
from shared.errors import InvalidInput
from shared.settings import InvalidSettings, Seconds, ServiceSettings


class AccountDocument(BaseModel):
    """One more key that may call the API."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    secret_id: Annotated[str, Field(min_length=1)]

    secret_key: Annotated[SecretStr, Field(min_length=1)]

    account: Annotated[str, Field(pattern=r"^\d{1,20}$")] = MAIN_ACCOUNT
    """Whose key it is. Rates, tokens, kept addresses and EIPs are an account's own."""


class Secrets(BaseModel):
    """What opens the API and the door for operators."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    secret_id: Annotated[str, Field(min_length=1)]
    """Of the account that may call the API."""

    secret_key: Annotated[SecretStr, Field(min_length=1)]
    """What its calls are signed with."""

    more: Annotated[tuple[AccountDocument, ...], Field(max_length=64)] = ()
    """Keys of other accounts, or further ones of the same."""

    admin_token: SecretStr = SecretStr("")
    """Opens /admin/; without it, that door stays shut."""

    def keys(self) -> dict[str, str]:
        """Secret keys by secret id."""
        found = {each.secret_id: each.secret_key.get_secret_value() for each in self.more}
        return found | {self.secret_id: self.secret_key.get_secret_value()}

    def account_names(self) -> dict[str, str]:
        """Accounts by secret id."""
        return {each.secret_id: each.account for each in self.more} | {
            self.secret_id: MAIN_ACCOUNT
        }


class RelayDocument(BaseModel):
    """One door out of the VPC."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: str
    """ADDRESS:PORT inside every instance."""

    target: str
    """ADDRESS:PORT on the host."""


class SimulatorSettings(ServiceSettings):
    section: ClassVar[str] = "vpc_simulator"

    listen: str = "127.0.0.1:0"
    """ADDRESS:PORT of the API; port 0 takes a free one."""

    topology: Path | None = None
    """YAML file with the cloud to begin with; there is no cloud without one."""

    state: Path | None = None
    """JSON file in which the cloud is kept: loaded at the start if it is there, written at the
    end and when an operator asks."""

    wireless: bool = False
    """A cloud without a packet: any number of instances, no network."""

    ready_file: Path | None = None
    """Written when the API answers, with its address; gone again at the end."""

    simulator_secret_file: Path | None = None
    """YAML file (mode 0600) with `secret_id`, `secret_key` and, if wanted, `admin_token`."""

    simulator_secret_id: SecretStr = SecretStr("")
    """Where there is no such file: the account's id."""

    simulator_secret_key: SecretStr = SecretStr("")
    """Where there is no such file: the account's key."""

    simulator_admin_token: SecretStr = SecretStr("")
    """Where there is no such file: the bearer token of /admin/; none: it stays shut."""

    relays: Annotated[tuple[RelayDocument, ...], Field(max_length=16)] = ()
    """Doors out of the VPC that every instance finds: where it listens inside each instance,
    and the host's address it leads to."""

    in_flight_max: Annotated[int, Field(ge=1)] = 2000
    """Calls being served at once; more are refused."""

    body_bytes_max: Annotated[int, Field(ge=1024)] = 262_144
    """The largest body that is read."""

    body_read_timeout_s: Seconds = 10.0
    """For a caller to send its body."""

    effects_at_once_max: Annotated[int, Field(ge=1)] = 64
    """Changes being made in the network at once; more wait."""

    effect_timeout_s: Seconds = 30.0
    """For the network to obey one change."""

    client_tokens_kept_max: Annotated[int, Field(ge=1)] = 100_000
    """Answers that a repeated ClientToken can still get."""

    faults_waiting_max: Annotated[int, Field(ge=1)] = 10_000
    """Faults that may wait for the next calls of one action."""

    def topology_file(self) -> Path:
        if self.topology is None:
            raise InvalidSettings("setting topology is missing: give --topology FILE")
        return self.topology

    def secrets(self) -> Secrets:
        """From the file where one is named, else from the environment."""
        if self.simulator_secret_file is not None:
            return _read_secrets(self.simulator_secret_file)
        secret_id = self.simulator_secret_id.get_secret_value()
        if not secret_id or not self.simulator_secret_key.get_secret_value():
            raise InvalidSettings(
                "credentials are missing: set BERTH_SIMULATOR_SECRET_ID and"
                " BERTH_SIMULATOR_SECRET_KEY, or BERTH_SIMULATOR_SECRET_FILE"
            )
        return Secrets(
            secret_id=secret_id,
            secret_key=self.simulator_secret_key,
            admin_token=self.simulator_admin_token,
        )


def _read_secrets(path: Path) -> Secrets:
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
        if mode & 0o077:
            raise InvalidInput.of(f"secret file {path}: mode", f"{mode:04o}", "0600 or 0400")
        return Secrets.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInput(f"secret file {path}: cannot be read as YAML") from error
    except ValidationError as error:
        # Neither the value nor the cause: either may hold a secret.
        names = ".".join(str(part) for part in error.errors()[0]["loc"]) or "document"
        raise InvalidInput(f"secret file {path}: {names} is missing or not allowed") from None
