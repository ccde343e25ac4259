"""Keys and passwords of one playground: made at start, a file each, for its owner's eyes only.

Only public keys and hashes of passwords reach the servers' configurations.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from berth.playground.topology import Topology
from berth.seeds import new_password, new_user_seed, public_key
from shared.bus.permissions import BusUser
from shared.bus.roles import Role
from shared.ids import NodeName, encode_token
from shared.store.permissions import StoreUser

_SECRET_FILE_MODE: Final = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class BusKey:
    """One client's key: who it is on the bus, and the file with its seed."""

    user: BusUser
    seed_file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePassword:
    """One store user's password, and the file that its service reads it from."""

    password: str
    password_file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudAccount:
    """The account of the simulated cloud: for who signs with it, and for who runs the cloud."""

    secret_id_file: Path
    secret_key_file: Path
    admin_file: Path


def write_secret(file: Path, text: str) -> Path:
    """A new file that nobody but its owner may read, at no moment."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _SECRET_FILE_MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    return file


class KeyRing:
    """Makes the keys below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def bus_key(self, name: str, role: Role, node: NodeName | None = None) -> BusKey:
        """A new nkey for one client of the bus."""
        seed = new_user_seed()
        return BusKey(
            user=BusUser(public_key=public_key(seed), role=role, node=node),
            seed_file=write_secret(self._folder / f"{encode_token(name)}.nk", f"{seed}\n"),
        )

    def store_password(self, user: StoreUser) -> StorePassword:
        """A new password for one user of the store."""
        password = new_password()
        file = write_secret(self._folder / f"{user}.password", f"{password}\n")
        return StorePassword(password=password, password_file=file)

    def cloud_account(self) -> CloudAccount:
        """A new account of the simulated cloud; its admin token is in the second file only."""
        secret_id, secret_key = f"AKID{secrets.token_hex(16)}", secrets.token_hex(16)
        admin = (
            f"secret_id: {secret_id}\nsecret_key: {secret_key}\nadmin_token: {new_password()}\n"
        )
        return CloudAccount(
            secret_id_file=write_secret(self._folder / "cloud.id", f"{secret_id}\n"),
            secret_key_file=write_secret(self._folder / "cloud.key", f"{secret_key}\n"),
            admin_file=write_secret(self._folder / "cloud-admin.yaml", admin),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaygroundKeys:
    """Every key of one playground."""

    bus: dict[str, BusKey]
    store: dict[StoreUser, StorePassword]
    account: CloudAccount

    def summary(self) -> str:
        return f"{len(self.bus)} for the bus, {len(self.store)} for the store"


def make_keys(
    ring: KeyRing, topology: Topology, *, allocators: int, eni_managers: Sequence[str]
) -> PlaygroundKeys:
    """One key per process, one for operators, and one for who only reads."""
    owners: list[tuple[str, Role, NodeName | None]] = [
        *((f"allocator-{number}", Role.ALLOCATOR, None) for number in range(1, allocators + 1)),
        *((name, Role.ENI_MANAGER, None) for name in eni_managers),
        ("operator", Role.OPERATOR, None),
        ("observer", Role.OBSERVER, None),
        *((f"agent-{node.name}", Role.NODE_AGENT, node.name) for node in topology.nodes),
    ]
    return PlaygroundKeys(
        bus={name: ring.bus_key(name, role, node) for name, role, node in owners},
        store={user: ring.store_password(user) for user in StoreUser},
        account=ring.cloud_account(),
    )
