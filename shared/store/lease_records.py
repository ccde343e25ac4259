"""The stored shape of a fixed lease, as the allocator writes it and the eni_manager reads it.

One field of the hash ``lease:fixed`` per identity token, one JSON array per lease: its version,
then what `_NAMES` says, what is not set at the end left off; an array, because there are a
million of them. The journal holds the same. Version N reads N-1: version 1 was an object with
these names, and is written where an operator goes back to the release that knows no other. The
scripts have the same ways to read and to write (``prelude.lua``).
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import Any, Final, Literal

from shared.addresses import AddressState
from shared.ids import Identity
from shared.policies import LeasePolicy

RECORD_VERSION: Final = 2

StoredFormat = Literal[1, 2]  # what is written; both are read

_NAMES: Final = (
    *("a", "s", "g", "sn", "n", "e", "u", "c", "t"),
    *("w", "x", "po", "to", "p", "b", "f", "k"),
)
_LETTER: Final = {
    AddressState.BOUND_FIXED: "b",
    AddressState.RETAINED: "r",
    AddressState.MOVING: "m",
    AddressState.PARKED: "p",
    AddressState.EXPIRED: "e",
}
_STATE: Final = {letter: state for state, letter in _LETTER.items()}
_WHOLE: Final = 42  # characters for 63 digits; the last digit stays as it is
_USUAL_KIND: Final = "StatefulSet"
_USUAL: Final = re.compile(r"([^/]+)/([0-9a-f]{64})/eth0")


@dataclass(slots=True, kw_only=True)  # frozen takes twice as long: made a million times
class LeaseRecord:
    """One fixed lease: who (the field's name), which address, where, since when."""

    address: IPv4Address
    state: AddressState
    generation: int
    subnet: str
    node: str | None = None  # where it is; None: parked
    eni: str | None = None
    moving_to: str | None = None  # node; "": its ENI leaves the node that its pod left
    pod_uid: str | None = None  # of the last bind
    attachment: str | None = None  # of the last bind; see `pack_attachment`
    since_ms: int  # of the state; the store's clock
    expires_after_s: int | None = None
    is_expiry_set: bool = False  # by a person: binds keep it
    bound_generation: int | None = None  # of the bind, if a later step did not end it
    reserved_for: str | None = None  # the pod for which a pool's slot was moved here
    is_exclusive: bool = False  # the primary address of an ENI that its pod has as a whole
    workload: str | None = None  # of the pod; see `pack_workload`
    policy: LeasePolicy = LeasePolicy.NEVER

    @classmethod
    def read(cls, body: bytes | str) -> LeaseRecord:
        """Raises ValueError for a shape that is not one of ours."""
        try:
            stored = _by_name(body)
            record = cls(
                address=IPv4Address(stored["a"]),
                state=_STATE[stored["s"]],
                generation=int(stored["g"]),
                subnet=stored["sn"],
                node=stored.get("n"),
                eni=stored.get("e"),
                moving_to=stored.get("to"),
                pod_uid=stored.get("u"),
                attachment=stored.get("c"),
                since_ms=int(stored["t"]),
                expires_after_s=stored.get("x"),
                is_expiry_set=bool(stored.get("p")),
                bound_generation=_whole(stored.get("b")),
                reserved_for=stored.get("f"),
                is_exclusive=bool(stored.get("k")),
                workload=stored.get("w"),
                policy=LeasePolicy(stored.get("po") or LeasePolicy.NEVER),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"a lease record of unknown shape: {error!r}") from error
        if record.generation < 1:
            raise ValueError(f"a lease record of generation {record.generation}: at least 1")
        return record

    def write(self) -> str:
        values = [RECORD_VERSION, *self._values()]
        while values[-1] is None:
            values.pop()
        return json.dumps(values, separators=(",", ":"))

    def write_version_1(self, identity: Identity) -> str:
        named = dict(zip(_NAMES, self._values(), strict=True)) | {"s": self.state.value}
        if self.attachment is not None:
            named["c"] = unpack_attachment(self.attachment, identity)
        if self.workload is not None:
            named["w"] = unpack_workload(self.workload)
        stored = {"v": 1} | {name: each for name, each in named.items() if each is not None}
        return json.dumps(stored, separators=(",", ":"))

    def _values(self) -> list[Any]:
        return [
            str(self.address),
            _LETTER[self.state],
            str(self.generation),  # as text: scripts cannot write so large a number exactly
            self.subnet,
            self.node,
            self.eni,
            self.pod_uid,
            self.attachment,
            self.since_ms,
            self.workload,
            self.expires_after_s,
            self.policy.value if self.policy is not LeasePolicy.NEVER else None,
            self.moving_to,
            self.is_expiry_set or None,
            str(self.bound_generation) if self.bound_generation is not None else None,
            self.reserved_for,
            self.is_exclusive or None,
        ]

    @property
    def since(self) -> datetime:
        return datetime.fromtimestamp(self.since_ms / 1000, UTC)

    @property
    def expires_at(self) -> datetime | None:
        """When a retained lease ends by itself; None: never, or the clock does not run."""
        waits = self.state in (AddressState.RETAINED, AddressState.PARKED)
        if not waits or self.expires_after_s is None:
            return None
        return self.since + timedelta(seconds=self.expires_after_s)


def _by_name(body: bytes | str) -> dict[str, Any]:
    stored = json.loads(body)
    if isinstance(stored, list) and stored[:1] == [RECORD_VERSION]:
        return dict(zip(_NAMES, stored[1:], strict=False))
    if isinstance(stored, dict) and stored.get("v") == 1:
        return stored | {"s": _LETTER[AddressState(stored["s"])]}
    raise ValueError(f"version or shape: {body[:20]!r}")


def is_newer(body: bytes | str) -> bool:
    """Whether a release that knows version 1 alone could not read this record."""
    return body[:1] in (b"[", "[")


def _whole(stored: str | int | None) -> int | None:
    return int(stored) if stored is not None else None


def generation_in(body: bytes | str) -> int:
    """Of a record, or of a journal's tombstone, without reading the rest."""
    stored = json.loads(body)
    return int(stored[1 + _NAMES.index("g")] if isinstance(stored, list) else stored["g"])


def pack_attachment(attachment: str, identity: Identity) -> str:
    """A str(AttachmentKey) in 43 characters, if it is a usual one of the identity's network:
    its container id in base64, which has two characters for three digits."""
    usual = _USUAL.fullmatch(attachment)
    if usual is None or usual[1] != identity.network:
        return attachment
    encoded = urlsafe_b64encode(bytes.fromhex(usual[2])).decode()
    return encoded[:_WHOLE] + usual[2][-1]


def unpack_attachment(packed: str, identity: Identity) -> str:
    if "/" in packed:
        return packed
    last = urlsafe_b64encode(bytes([int(packed[_WHOLE:], 16) << 4])).decode()[:1]
    container_id = urlsafe_b64decode(f"{packed[:_WHOLE]}{last}=").hex()
    return f"{identity.network}/{container_id}/eth0"


def pack_workload(workload: str) -> str:
    """A WorkloadName.local; most fixed leases are a StatefulSet's: that goes without saying."""
    kind, colon, name = workload.partition(":")
    return f"{colon}{name}" if kind == _USUAL_KIND else workload


def unpack_workload(packed: str) -> str:
    return f"{_USUAL_KIND}{packed}" if packed.startswith(":") else packed
