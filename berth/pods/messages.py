"""What crosses a runner's socket: one request a connection, progress, then one answer."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from shared.errors import ErrorCode

from .probes import ECHO_PORT

_TIMEOUT_S_MAX: Final = 600.0
_ATTEMPTS_MAX: Final = 100

Name = Annotated[str, Field(min_length=1, max_length=253)]
TimeoutS = Annotated[float, Field(gt=0, le=_TIMEOUT_S_MAX)]


class Shape(BaseModel):
    """Both ends are of one release, so an unknown field is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PodKey(Shape):
    namespace: Name
    name: Name


class RunPod(Shape):
    """Make the pod's sandbox and network; again and again while the answer is "not yet"."""

    type: Literal["run_pod"] = "run_pod"
    pod: PodKey
    uid: Name
    timeout_s: TimeoutS


class RemovePod(Shape):
    """Tear the network down and end the process. A pod that is not there is removed."""

    type: Literal["remove_pod"] = "remove_pod"
    pod: PodKey
    timeout_s: TimeoutS


class RunProbe(Shape):
    """From a pod, or from the node itself."""

    type: Literal["run_probe"] = "run_probe"
    pod: PodKey | None
    do: Literal["icmp", "tcp", "udp"]
    destination: IPv4Address
    port: Annotated[int, Field(ge=1, le=65535)] = ECHO_PORT
    attempts: Annotated[int, Field(ge=1, le=_ATTEMPTS_MAX)] = 1
    timeout_s: TimeoutS = 1.0


class SendForged(Shape):
    """A datagram from `pod` that claims `source`."""

    type: Literal["send_forged"] = "send_forged"
    pod: PodKey
    source: IPv4Address
    destination: IPv4Address
    token: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]


class AskHeard(Shape):
    """From where `pod` received this token."""

    type: Literal["ask_heard"] = "ask_heard"
    pod: PodKey
    token: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]


class CheckPod(Shape):
    """The plugin's CHECK: is the kernel as ADD left it."""

    type: Literal["check_pod"] = "check_pod"
    pod: PodKey


class ListPods(Shape):
    type: Literal["list_pods"] = "list_pods"


class Waiting(Shape):
    """Progress: this attempt failed, and another follows."""

    type: Literal["waiting"] = "waiting"
    attempt: int
    reason: str
    next_in_s: float


class PodRunning(Shape):
    type: Literal["pod_running"] = "pod_running"
    pod: PodKey
    uid: str
    address: IPv4Address
    container_id: str
    host_ifname: str | None
    process: int  # id of the pod's process
    attempts: int
    add_s: float  # of the CNI ADD that succeeded
    seconds: float  # of all


class PodRemoved(Shape):
    type: Literal["pod_removed"] = "pod_removed"
    was_there: bool
    seconds: float


class Probed(Shape):
    type: Literal["probed"] = "probed"
    is_answered: bool
    seconds: float
    detail: str


class Heard(Shape):
    type: Literal["heard"] = "heard"
    sources: tuple[IPv4Address, ...]


class Checked(Shape):
    type: Literal["checked"] = "checked"


class PodsListed(Shape):
    type: Literal["pods_listed"] = "pods_listed"
    pods: tuple[PodRunning, ...]


class Failed(Shape):
    """The reason why not, for people."""

    type: Literal["failed"] = "failed"
    code: ErrorCode
    is_final: bool  # asking again the same way will not help
    reason: str


Request = RunPod | RemovePod | RunProbe | SendForged | AskHeard | CheckPod | ListPods
Answer = PodRunning | PodRemoved | Probed | Heard | Checked | PodsListed | Failed

REQUEST: Final[TypeAdapter[Request]] = TypeAdapter(
    Annotated[Request, Field(discriminator="type")]
)
ANSWER: Final[TypeAdapter[Answer | Waiting]] = TypeAdapter(
    Annotated[Answer | Waiting, Field(discriminator="type")]
)
