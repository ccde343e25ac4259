"""Where the API server is and how this agent shows who it is: in a cluster, or by a kubeconfig.

The token file is read again for every call: the cluster replaces it every hour.
"""

from __future__ import annotations

import base64
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import InvalidInput, Refused, Unavailable

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_CONFIG_BYTES_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesAccess:
    """An API server's URL, what its certificate is checked against, and who asks."""

    url: str
    tls: ssl.SSLContext | None  # None: plain HTTP, for a server on loopback
    token: str | None = None
    token_file: Path | None = None

    def headers(self) -> dict[str, str]:
        """Raises Unavailable when the token cannot be read now."""
        token = self.token
        if self.token_file is not None:
            try:
                token = self.token_file.read_text(encoding="ascii").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise Unavailable(f"token file {self.token_file}: {error}") from error
        return {} if token is None else {"Authorization": f"Bearer {token}"}


def in_cluster(
    environment: Mapping[str, str], folder: Path = SERVICE_ACCOUNT
) -> KubernetesAccess:
    """As every pod of a cluster finds it. Raises Refused outside a cluster."""
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    port = environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise Refused(
            "kubernetes_config is not set and KUBERNETES_SERVICE_HOST neither: this is no pod"
            " of a cluster; name a kubeconfig"
        )
    shown = f"[{host}]" if ":" in host else host
    try:
        tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    except (OSError, ssl.SSLError) as error:
        raise Refused(f"{folder / 'ca.crt'}: no CA certificate: {error}") from error
    return KubernetesAccess(url=f"https://{shown}:{port}", tls=tls, token_file=folder / "token")


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Cluster(_Part):
    server: Annotated[str, Field(pattern=r"^https?://")]
    ca_file: Annotated[Path | None, Field(alias="certificate-authority")] = None
    ca_data: Annotated[str | None, Field(alias="certificate-authority-data")] = None
    is_unchecked: Annotated[bool, Field(alias="insecure-skip-tls-verify")] = False


class _User(_Part):
    token: str | None = None
    token_file: Annotated[Path | None, Field(alias="tokenFile")] = None
    certificate_file: Annotated[Path | None, Field(alias="client-certificate")] = None
    certificate_data: Annotated[str | None, Field(alias="client-certificate-data")] = None
    key_file: Annotated[Path | None, Field(alias="client-key")] = None
    key_data: Annotated[str | None, Field(alias="client-key-data")] = None
    exec: dict[str, Any] | None = None


class _Context(_Part):
    cluster: str
    user: str = ""


class _NamedCluster(_Part):
    name: str
    cluster: _Cluster


class _NamedUser(_Part):
    name: str
    user: _User | None = None


class _NamedContext(_Part):
    name: str
    context: _Context


class _Config(_Part):
    current: Annotated[str, Field(alias="current-context")]
    clusters: list[_NamedCluster]
    users: list[_NamedUser] = []
    contexts: list[_NamedContext]


def from_kubeconfig(path: Path) -> KubernetesAccess:
    """The current context's cluster and user. Raises InvalidInput naming what is wrong."""
    config = _read(path)
    contexts = {each.name: each.context for each in config.contexts}
    context = contexts.get(config.current)
    if context is None:
        raise InvalidInput.of(f"{path}: current-context", config.current, _names(contexts))
    clusters = {each.name: each.cluster for each in config.clusters}
    cluster = clusters.get(context.cluster)
    if cluster is None:
        raise InvalidInput.of(f"{path}: cluster", context.cluster, _names(clusters))
    users = {each.name: each.user or _User() for each in config.users}
    user = users.get(context.user)
    if user is None and context.user:
        raise InvalidInput.of(f"{path}: user", context.user, _names(users))
    user = user or _User()
    if user.exec is not None:
        raise InvalidInput(
            f"{path}: user {context.user}: exec plugins are not run by a node's agent; use a"
            " token file or a client certificate"
        )
    return KubernetesAccess(
        url=cluster.server.rstrip("/"),
        tls=_tls(path, cluster, user),
        token=user.token,
        token_file=None if user.token_file is None else path.parent / user.token_file,
    )


def _read(path: Path) -> _Config:
    try:
        if path.stat().st_size > _CONFIG_BYTES_MAX:
            raise InvalidInput(f"{path}: larger than {_CONFIG_BYTES_MAX} bytes")
        return _Config.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InvalidInput(f"{path}: cannot be read as YAML: {reason}") from error
    except ValidationError as error:
        # The value stays unsaid: it may be a token or a key.
        detail = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in detail["loc"]) or "document"
        raise InvalidInput(f"{path}: {field}: {detail['msg']}") from None


def _tls(path: Path, cluster: _Cluster, user: _User) -> ssl.SSLContext | None:
    if cluster.server.startswith("http://"):
        return None
    try:
        tls = ssl.create_default_context(
            cafile=None if cluster.ca_file is None else str(path.parent / cluster.ca_file),
            cadata=None
            if cluster.ca_data is None
            else base64.b64decode(cluster.ca_data).decode(),
        )
        if cluster.is_unchecked:
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
        _show_certificate(tls, path, user)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise InvalidInput(f"{path}: certificates cannot be used: {error}") from error
    return tls


def _show_certificate(tls: ssl.SSLContext, path: Path, user: _User) -> None:
    if user.certificate_file is not None and user.key_file is not None:
        tls.load_cert_chain(path.parent / user.certificate_file, path.parent / user.key_file)
    elif user.certificate_data is not None and user.key_data is not None:
        # The ssl module reads files only. This one is for our eyes, and gone at once.
        with tempfile.NamedTemporaryFile() as file:
            file.write(base64.b64decode(user.certificate_data) + b"\n")
            file.write(base64.b64decode(user.key_data))
            file.flush()
            tls.load_cert_chain(file.name)


def _names(known: Mapping[str, object]) -> str:
    return ", ".join(sorted(known)) or "none is defined"
