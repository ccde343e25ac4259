"""What a pod's host link says of its attachment: the book's copy in the kernel (pure).

The book dies with its folder, links live as long as their pods. So each carries, in the message
that sets it up, what nothing else there tells: whose it is. `ip link` shows it as its alias:

    berth1 n=berth i=eth0 c=0f3a… g=0 e=eni-7k2m p=/run/netns/cni-1c… k=default/web-0 u=5d1f…

A link's alias has 255 bytes. What comes first is needed most; a field that has no room is left
out, and then the attachment is made again without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from shared.ids import AttachmentKey, EniId, Generation, Identity, PodName, PodUid

from .attachments import Attachment

BYTES_MAX: Final = 255
_FORM: Final = "berth1"
_NEEDED: Final = frozenset("nicge")
_SAFE: Final = "/:#"
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.~/:#-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What one link says."""

    key: AttachmentKey
    eni: EniId
    generation: Generation | None  # of the fixed lease; None: Immediate
    identity: Identity | None = None  # of the fixed lease, where it is not the pod's name
    netns_path: str = ""
    pod: PodName | None = None
    pod_uid: PodUid | None = None


def label_of(attachment: Attachment) -> str:
    """Empty when not even what is needed fits."""
    text = _FORM
    for field, value in _fields(attachment):
        # Nearly always there is nothing to quote, and each ADD comes by here.
        told = value if _PLAIN.fullmatch(value) else quote(value, safe=_SAFE)
        more = f" {field}={told}"
        if len(text) + len(more) <= BYTES_MAX:
            text += more
        elif field in _NEEDED:
            return ""
    return text


def read_label(text: str) -> Label | None:
    """None: not ours, of a form that is not known, or damaged."""
    form, _, rest = text.partition(" ")
    if form != _FORM:
        return None
    has = {
        field: unquote(value)
        for field, is_field, value in (part.partition("=") for part in rest.split(" "))
        if is_field
    }
    if any(not has.get(field) for field in _NEEDED) or not has["g"].isdecimal():
        return None
    key = AttachmentKey(has["n"], has["c"], has["i"])
    return Label(
        key=key,
        eni=EniId(has["e"]),
        generation=Generation(int(has["g"])) if has["g"] != "0" else None,
        identity=None if (slot := _pair(has, "s")) is None else Identity(*slot, key.network),
        netns_path=has.get("p", ""),
        pod=None if (pod := _pair(has, "k")) is None else PodName(*pod),
        pod_uid=PodUid(has["u"]) if "u" in has else None,
    )


def _pair(has: dict[str, str], field: str) -> tuple[str, str] | None:
    namespace, is_pair, name = has.get(field, "").partition("/")
    return (namespace, name) if is_pair else None


def _fields(attachment: Attachment) -> Iterator[tuple[str, str]]:
    key, identity, pod = attachment.key, attachment.identity, attachment.pod
    yield "n", key.network
    yield "i", key.ifname
    yield "c", key.container_id
    yield "g", str(attachment.generation or 0)
    yield "e", attachment.eni
    if identity is not None and (pod is None or identity.pod != pod):
        yield "s", f"{identity.namespace}/{identity.name}"
    if attachment.netns_path:
        yield "p", attachment.netns_path
    if pod is not None:
        yield "k", str(pod)
    if attachment.pod_uid is not None:
        yield "u", attachment.pod_uid
