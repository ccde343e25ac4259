"""Settings: one YAML file with a section for each service, every setting in the environment.

Sources, the first that names a setting wins: BERTH_<SECTION>_<SETTING>, BERTH_<SETTING>, the
service's section of the file, the file's ``common`` section, the default. Unknown names are
refused, in the file and in the environment.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, TypeVar

import yaml
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from shared.annotations import PREFIX, PREFIX_VARIABLE
from shared.errors import Refused
from shared.ids import ClusterName

SECTIONS: Final = ("allocator", "eni_manager", "node_agent", "vpc_simulator")
_CONFIG_BYTES_MAX: Final = 1 << 20

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class InvalidSettings(Refused):
    """Raised when a setting is unknown or holds what is not allowed; the text is one line."""


def default_run_dir() -> Path:
    """/run/berth for root, else under the user's own runtime folder."""
    if os.geteuid() == 0:
        return Path("/run/berth")
    base = os.environ.get("XDG_RUNTIME_DIR")
    return Path(base, "berth") if base else Path(f"/tmp/berth-{os.geteuid()}")


class ServiceSettings(BaseSettings):
    """What every service may be told. Subclasses add their own and name their section."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)
    section: ClassVar[str] = ""

    cluster: ClusterName = ClusterName("default")
    """The cluster's name: the root of every subject and key."""

    annotation_prefix: Annotated[
        str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)
    ] = PREFIX.removesuffix("/")
    """What the names of annotations, resources and taints begin with, before the slash. From
    the environment (BERTH_ANNOTATION_PREFIX), the same for every part of a cluster."""

    nats_url: str = "nats://127.0.0.1:4222"
    """The bus; several servers are separated by commas. tls:// asks for TLS."""

    nats_key_file: Path | None = None
    """The nkey seed this service proves itself with (mode 0600)."""

    nats_token_file: Path | None = None
    """A file with a token that the bus asks the allocators about, read again for each
    connection: the service account's token of a node agent that has no key of its own."""

    nats_ca_file: Path | None = None
    """The certificate authority of the bus, for tls:// addresses; none: the system's."""

    nats_tls_hostname: str | None = None
    """The name in the bus's certificate, where its addresses are not; none: the address."""

    nats_tls_cert_file: Path | None = None
    """The certificate that this service shows a bus which asks for one, over tls://. Like the
    others of TLS it is read again for each connection."""

    nats_tls_key_file: Path | None = None
    """The key of that certificate (mode 0600); not the nkey, which is nats_key_file."""

    nats_connect_timeout_s: Seconds = 5.0
    """How long one attempt to reach the bus may take at start before it is given up."""

    health_listen: str = "127.0.0.1:0"
    """ADDRESS:PORT of /livez, /readyz and /metrics; port 0 takes a free one."""

    run_dir: Path = Field(default_factory=default_run_dir)
    """Sockets, books and spools of this boot (tmpfs)."""

    state_dir: Path = Path("/var/lib/berth")
    """What must survive a reboot."""

    drain_grace_s: Seconds = 10.0
    """How long requests already taken may go on after SIGTERM."""

    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"
    """The least severe record that is written."""

    log_format: Annotated[str, Field(pattern="^(json|console)$")] = "json"
    """One JSON object a line for machines, or columns for people."""

    @field_validator("annotation_prefix")
    @classmethod
    def _check_prefix(cls, value: str) -> str:
        if f"{value}/" != PREFIX:
            raise ValueError(f"set it in the environment, as {PREFIX_VARIABLE}")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment beats what the file said (which comes in by the initialiser)."""
        return (
            EnvSettingsSource(settings_cls, env_prefix=f"BERTH_{cls.section.upper()}_"),
            EnvSettingsSource(settings_cls, env_prefix="BERTH_"),
            init_settings,
        )


class StoreSettings(ServiceSettings):
    """Settings of the services that use the store."""

    redis_url: str = "redis://127.0.0.1:6379/0"
    """The store; rediss:// asks for TLS. The user may be named here, the password may not.
    Behind sentinels: redis+sentinel://HOST:PORT,HOST:PORT/SERVICE. In a Redis Cluster:
    redis+cluster://HOST:PORT,HOST:PORT, some of its members."""

    redis_password_file: Path | None = None
    """The password of the URL's user (mode 0600)."""

    redis_sentinel_user: str | None = None
    """Who the sentinels know this service as; they have users of their own."""

    redis_sentinel_password_file: Path | None = None
    """The password of that user (mode 0600)."""

    redis_ca_file: Path | None = None
    """The certificate authority of the store and its sentinels, for rediss:// addresses; none:
    the system's. Like the others of TLS it is read again for each connection."""

    redis_tls_hostname: str | None = None
    """The name in the store's certificates, where its addresses are not; none: the address."""

    redis_tls_cert_file: Path | None = None
    """The certificate that this service shows a store which asks for one."""

    redis_tls_key_file: Path | None = None
    """The key of that certificate (mode 0600)."""

    redis_timeout_s: Seconds = 2.0
    """How long one command may take before the store counts as unavailable."""

    redis_connections_max: Annotated[int, Field(ge=1, le=1024)] = 16
    """Connections of this process to the store."""


Settings = TypeVar("Settings", bound=ServiceSettings)

# Settings that any service of the same machine may find in its environment.
_COMMON_NAMES: Final = frozenset(StoreSettings.model_fields) | {"node", "config"}


def load_settings(
    kind: type[Settings], config_file: Path | None, environment: Mapping[str, str]
) -> Settings:
    """Read and check. Raises InvalidSettings: setting, value, what is allowed, in one line."""
    _refuse_unknown_environment(kind, environment)
    values = _read_config(kind, config_file) if config_file else {}
    try:
        return kind(**values)
    except ValidationError as error:
        raise InvalidSettings(_first_problem(kind, error)) from error


def _read_config(kind: type[ServiceSettings], config_file: Path) -> dict[str, Any]:
    try:
        if config_file.stat().st_size > _CONFIG_BYTES_MAX:
            raise InvalidSettings(f"{config_file}: larger than {_CONFIG_BYTES_MAX} bytes")
        document = yaml.safe_load(config_file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InvalidSettings(f"{config_file}: cannot be read as YAML: {reason}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InvalidSettings(f"{config_file}: a mapping of sections is expected")
    allowed = ("common", *SECTIONS)
    for section, body in document.items():
        if section not in allowed:
            raise InvalidSettings(
                f"{config_file}: section {section!r} is unknown; allowed: {', '.join(allowed)}"
            )
        if not isinstance(body, dict):
            raise InvalidSettings(f"{config_file}: section {section!r} must be a mapping")
    common = document.get("common", {})
    for name in common:
        if name not in _COMMON_NAMES:
            raise InvalidSettings(
                _unknown(f"{config_file}: common.{name}", name, _COMMON_NAMES)
            )
    mine = {name: value for name, value in common.items() if name in kind.model_fields}
    own: dict[str, Any] = document.get(kind.section, {})
    return mine | own


def _refuse_unknown_environment(
    kind: type[ServiceSettings], environment: Mapping[str, str]
) -> None:
    own_prefix = f"BERTH_{kind.section.upper()}_"
    others = tuple(f"BERTH_{section.upper()}_" for section in SECTIONS)
    for variable in environment:
        if variable.startswith(own_prefix):
            name = variable.removeprefix(own_prefix).lower()
            known: frozenset[str] = frozenset(kind.model_fields)
        elif variable.startswith("BERTH_") and not variable.startswith(others):
            name = variable.removeprefix("BERTH_").lower()
            known = frozenset(kind.model_fields) | _COMMON_NAMES
        else:
            continue
        if name not in known:
            raise InvalidSettings(_unknown(f"environment {variable}", name, known))


def _unknown(where: str, name: str, known: frozenset[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"
    return f"{where}: unknown setting{hint}"


def _first_problem(kind: type[ServiceSettings], error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    reason = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:  # settings that do not go together: the reason names them
        return f"settings of {kind.section}: {reason}"
    name = str(problem["loc"][0])
    if problem["type"] == "extra_forbidden":
        return _unknown(f"{kind.section}.{name}", name, frozenset(kind.model_fields))
    shown = repr(problem["input"])[:120]
    if "password" in name or "secret" in name:
        shown = "(hidden)"
    return f"setting {name} (BERTH_{name.upper()}): {shown} is not allowed: {reason}"
