"""New keys of the bus, and new passwords. Only public keys and hashes reach its servers."""

from __future__ import annotations

import os
import secrets
from typing import Final

import nkeys

_SEED_BYTES: Final = 32
_PASSWORD_BYTES: Final = 32


def new_user_seed() -> str:
    """SU…: what one client of the bus proves itself with."""
    return _new_seed(nkeys.PREFIX_BYTE_USER)


def new_account_seed() -> str:
    """SA…: in whose name clients without a key of their own are admitted."""
    return _new_seed(nkeys.PREFIX_BYTE_ACCOUNT)


def public_key(seed: str) -> str:
    return bytes(nkeys.from_seed(bytearray(seed.encode())).public_key).decode()


def new_password() -> str:
    return secrets.token_urlsafe(_PASSWORD_BYTES)


def _new_seed(prefix: int) -> str:
    return bytes(nkeys.encode_seed(os.urandom(_SEED_BYTES), prefix)).decode()
