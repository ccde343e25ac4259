"""Kubernetes' rules for names, as the API server holds them."""

from __future__ import annotations

import random
import re
from typing import Final

from shared.errors import InvalidInput

LABEL_CHARACTERS_MAX: Final = 63
SUBDOMAIN_CHARACTERS_MAX: Final = 253
_SUFFIX_CHARACTERS: Final = 5
_SUFFIX_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"  # no vowels: no words by chance

_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")


def check_label(field: str, name: str) -> None:
    """A DNS label: namespaces, and StatefulSets, whose pods' names become host names."""
    if not _LABEL.fullmatch(name) or len(name) > LABEL_CHARACTERS_MAX:
        raise InvalidInput.of(
            field,
            name,
            f"1 to {LABEL_CHARACTERS_MAX} of a-z, 0-9 and '-', a letter or digit at both ends",
        )


def check_subdomain(field: str, name: str) -> None:
    """A DNS subdomain: pods and Deployments."""
    if not _SUBDOMAIN.fullmatch(name) or len(name) > SUBDOMAIN_CHARACTERS_MAX:
        raise InvalidInput.of(
            field,
            name,
            f"1 to {SUBDOMAIN_CHARACTERS_MAX} of a-z, 0-9, '-' and '.', "
            "a letter or digit at both ends of every part",
        )


def check_ordinal_names(field: str, name: str, last_ordinal: int) -> None:
    """The longest pod name must still be a label value: the controller sets it as one."""
    longest = f"{name}-{last_ordinal}"
    if len(longest) > LABEL_CHARACTERS_MAX:
        raise InvalidInput(
            f"{field}: pod name {longest!r} is {len(longest)} characters long; "
            f"allowed: at most {LABEL_CHARACTERS_MAX}"
        )


def random_suffix(rng: random.Random, characters: int = _SUFFIX_CHARACTERS) -> str:
    return "".join(rng.choices(_SUFFIX_ALPHABET, k=characters))


def generated_name(base: str, rng: random.Random) -> str:
    """A pod's name out of its owner's, cut so that it stays a label."""
    return base[: LABEL_CHARACTERS_MAX - _SUFFIX_CHARACTERS] + random_suffix(rng)
