"""The plugin's frame and the runtime's configuration, parsed once: bytes in, a CniRequest out.

The plugin has checked much of it already, so that it can answer while no agent runs; here it
is checked again, because whoever can open the socket can send a frame.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface
from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from services.node_agent.cni.codes import NEWEST_VERSION, BadCall, CniCode
from shared.annotations import NetworkMode
from shared.ids import AttachmentKey, PodName, PodUid

PROTOCOL_VERSION: Final = 1
SUPPORTED_VERSIONS: Final = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
VALID_ATTACHMENTS: Final = "cni.dev/valid-attachments"
TIMEOUT_MS_MAX: Final = 600_000

_IDENTIFIER: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_IFNAME: Final = re.compile(r"(?!\.{1,2}\Z)[^/:\s]{1,15}")
_POD_PART_MAX: Final = 253  # Kubernetes' longest name
_KNOWN_ARGS: Final = frozenset(
    {
        "IgnoreUnknown",
        "K8S_POD_NAMESPACE",
        "K8S_POD_NAME",
        "K8S_POD_UID",
        "K8S_POD_INFRA_CONTAINER_ID",
    }
)
_MODES: Final = {"shared": NetworkMode.SHARED, "exclusive": NetworkMode.EXCLUSIVE}

PrevResult = dict[str, JsonValue]


class Verb(StrEnum):
    """What the runtime asks for. VERSION is answered by the plugin alone."""

    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    STATUS = "STATUS"
    GC = "GC"


_LEAST_VERSION: Final = {Verb.CHECK: "0.4.0", Verb.STATUS: "1.1.0", Verb.GC: "1.1.0"}


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class _Frame(_Body):
    protocol: Literal[1]
    verb: Verb
    timeout_ms: Annotated[int, Field(ge=1, le=TIMEOUT_MS_MAX)]
    env: dict[str, str]
    config: str


class _Network(_Body):
    """What every verb needs of the configuration, and all that DEL needs."""

    cni_version: Annotated[str, Field(alias="cniVersion")] = ""
    name: str = ""


class _ValidAttachment(_Body):
    container_id: Annotated[str, Field(alias="containerID", min_length=1)]
    ifname: Annotated[str, Field(min_length=1)]


class _Configuration(_Body):
    type: str = ""
    mode: Literal["shared", "exclusive"] | None = None
    pod_source: Annotated[Literal["none"] | None, Field(alias="podSource")] = None
    prev_result: Annotated[PrevResult | None, Field(alias="prevResult")] = None
    valid: Annotated[list[_ValidAttachment] | None, Field(alias=VALID_ATTACHMENTS)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CniRequest:
    """One call of the runtime."""

    verb: Verb
    cni_version: str
    network: str
    timeout: timedelta  # the plugin stops listening then
    key: AttachmentKey | None  # None: STATUS and GC speak of no attachment
    netns_path: str
    pod: PodName | None
    pod_uid: PodUid | None
    mode: NetworkMode | None
    is_pod_known: bool
    prev_result: PrevResult | None
    valid: frozenset[AttachmentKey] | None  # None: the runtime gave no list


def parse_request(body: bytes) -> CniRequest:
    """Raises BadCall with the specification's code, naming variable or key."""
    try:
        frame = _Frame.model_validate_json(body)
    except ValidationError as error:
        raise _bad(CniCode.INTERNAL, f"frame: {_first_problem(error)}") from error
    network = _parse(_Network, frame.config, NEWEST_VERSION)
    version = network.cni_version
    _check_version(frame.verb, version)
    _check(_IDENTIFIER, "name", network.name, CniCode.BAD_CONFIGURATION, version)

    # A deletion must not fail over what it does not need: an old cached result, odd arguments.
    is_lenient = frame.verb is Verb.DEL
    config = _Configuration() if is_lenient else _parse(_Configuration, frame.config, version)
    pod, pod_uid = (None, None) if is_lenient else _parse_args(frame.env, version)
    return CniRequest(
        verb=frame.verb,
        cni_version=version,
        network=network.name,
        timeout=timedelta(milliseconds=frame.timeout_ms),
        key=_attachment(frame, network.name, version),
        netns_path=frame.env.get("CNI_NETNS", ""),
        pod=pod,
        pod_uid=pod_uid,
        mode=_mode(config, version),
        is_pod_known=config.pod_source is None,
        prev_result=config.prev_result,
        valid=_valid(config, network.name, version),
    )


def prev_address(prev_result: PrevResult, ifname: str) -> IPv4Address | None:
    """The IPv4 address that a result gives to the interface of this name."""
    interfaces = _dicts(prev_result.get("interfaces"))
    for ip in _dicts(prev_result.get("ips")):
        index = ip.get("interface")
        if isinstance(index, int) and 0 <= index < len(interfaces):
            if interfaces[index].get("name") != ifname:
                continue
            if not interfaces[index].get("sandbox"):
                continue
        try:
            return IPv4Interface(str(ip.get("address"))).ip
        except ValueError:
            continue  # an IPv6 address of a later plugin
    return None


def _dicts(value: JsonValue) -> list[dict[str, JsonValue]]:
    found = value if isinstance(value, list) else []
    return [each if isinstance(each, dict) else {} for each in found]


Model = TypeVar("Model", bound=_Body)


def _parse(model: type[Model], config: str, version: str) -> Model:
    try:
        return model.model_validate_json(config)
    except ValidationError as error:
        is_json = error.errors(include_url=False)[0]["type"] != "json_invalid"
        code = CniCode.BAD_CONFIGURATION if is_json else CniCode.NOT_JSON
        raise _bad(code, _first_problem(error), version) from error


def _check_version(verb: Verb, version: str) -> None:
    least = _LEAST_VERSION.get(verb, SUPPORTED_VERSIONS[0])
    allowed = SUPPORTED_VERSIONS[SUPPORTED_VERSIONS.index(least) :]
    if version not in allowed:
        raise _bad(
            CniCode.INCOMPATIBLE_VERSION,
            f"cniVersion: {version[:40]!r} is not allowed for {verb}; "
            f"allowed: {', '.join(allowed)}",
            version[:40] or NEWEST_VERSION,
        )


def _attachment(frame: _Frame, network: str, version: str) -> AttachmentKey | None:
    if frame.verb in (Verb.STATUS, Verb.GC):
        return None
    container_id = frame.env.get("CNI_CONTAINERID", "")
    ifname = frame.env.get("CNI_IFNAME", "")
    code = CniCode.BAD_ENVIRONMENT
    _check(_IDENTIFIER, "CNI_CONTAINERID", container_id, code, version)
    _check(_IFNAME, "CNI_IFNAME", ifname, code, version)
    return AttachmentKey(network, container_id, ifname)


def _parse_args(env: dict[str, str], version: str) -> tuple[PodName | None, PodUid | None]:
    """CNI_ARGS is K=V;K=V in any order; runtimes shuffle it."""
    arguments: dict[str, str] = {}
    for pair in filter(None, env.get("CNI_ARGS", "").split(";")):
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise _bad(CniCode.BAD_ENVIRONMENT, f"CNI_ARGS: {pair[:80]!r} is not K=V", version)
        arguments[name] = value
    unknown = sorted(arguments.keys() - _KNOWN_ARGS)
    if unknown and arguments.get("IgnoreUnknown", "").lower() not in ("1", "true"):
        raise _bad(
            CniCode.BAD_ENVIRONMENT,
            f"CNI_ARGS: {unknown[0][:80]!r} is unknown, and IgnoreUnknown=1 is not there",
            version,
        )
    namespace = arguments.get("K8S_POD_NAMESPACE", "")
    name = arguments.get("K8S_POD_NAME", "")
    if bool(namespace) != bool(name) or max(len(namespace), len(name)) > _POD_PART_MAX:
        raise _bad(
            CniCode.BAD_ENVIRONMENT,
            "CNI_ARGS: K8S_POD_NAMESPACE and K8S_POD_NAME are given together, "
            f"each at most {_POD_PART_MAX} characters",
            version,
        )
    uid = arguments.get("K8S_POD_UID", "")
    return (PodName(namespace, name) if name else None, PodUid(uid) if uid else None)


def _mode(config: _Configuration, version: str) -> NetworkMode | None:
    """Installed under a mode's name, the plugin serves that mode."""
    of_type = NetworkMode(config.type) if config.type in list(NetworkMode) else None
    of_mode = _MODES[config.mode] if config.mode else None
    if of_type and of_mode and of_type is not of_mode:
        raise _bad(
            CniCode.BAD_CONFIGURATION,
            f"mode: {config.mode!r} is not allowed with type {config.type!r}",
            version,
        )
    return of_mode or of_type


def _valid(
    config: _Configuration, network: str, version: str
) -> frozenset[AttachmentKey] | None:
    if config.valid is None:
        return None
    for each in config.valid:
        # One key that cannot be a key means the list is not what it seems: collect nothing.
        code = CniCode.BAD_CONFIGURATION
        _check(
            _IDENTIFIER, f"{VALID_ATTACHMENTS} containerID", each.container_id, code, version
        )
        _check(_IFNAME, f"{VALID_ATTACHMENTS} ifname", each.ifname, code, version)
    return frozenset(
        AttachmentKey(network, each.container_id, each.ifname) for each in config.valid
    )


def _check(
    pattern: re.Pattern[str], field: str, value: str, code: CniCode, version: str
) -> None:
    if not pattern.fullmatch(value):
        allowed = "letters and digits, then also _ . and -"
        if pattern is _IFNAME:
            allowed = "1 to 15 characters without '/', ':' and white space"
        raise _bad(code, f"{field}: {value[:80]!r} is not allowed; allowed: {allowed}", version)


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in problem["loc"])
    value = repr(problem["input"])[:80]
    return f"{field}: {value}: {problem['msg']}" if field else problem["msg"]


def _bad(code: CniCode, detail: str, version: str = NEWEST_VERSION) -> BadCall:
    return BadCall(code, detail, cni_version=version)
