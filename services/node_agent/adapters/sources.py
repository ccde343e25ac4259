"""By which ENI what pods send leaves: a mark for each source, given by an nftables map.

One lookup, however many pods there are; the kernel's list of rules is walked for each packet
and for each link that is made. The map holds every address of the node's stock, so that an ADD
has nothing to change here: what nobody has been given cannot be sent from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from services.node_agent.domain.wiring import SOURCE_MASK, SOURCES_NFT_TABLE
from shared.kernel import nft_sets
from shared.kernel import nftables as nft
from shared.kernel.conversation import NetlinkError
from shared.kernel.dumps import Rereader

_ENTER: Final = "enter"
_OWN: Final = "own"  # what the node sends as a pod: a proxy that keeps its client's source
_MAP: Final = "sources"
_MARKING: Final = "mark-"
_ALL_BITS: Final = 0xFFFF_FFFF
_ADDRESS_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class _Found:
    """What is in the kernel: addresses with their marks, and the marks that have a chain."""

    marks: Mapping[IPv4Address, int]
    chains: frozenset[int]


class SourceTable:
    """The marks that the kernel has, and those that it was given."""

    def __init__(self) -> None:
        self._nftables = nft.Nftables()
        self._given: _Found | None = None
        self._messages = Rereader(nft_sets.read_map)

    def close(self) -> None:
        self._nftables.close()

    def give(self, marks: Mapping[IPv4Address, int]) -> None:
        """Add to those given, or change them; without news the kernel is not asked."""
        given = self._given if self._given is not None else self._read()
        if given is None:
            self._write(marks)
            return
        self._given = given
        news = {a: mark for a, mark in marks.items() if given.marks.get(a) != mark}
        if not news:
            return
        try:
            self._change(given, {**given.marks, **news})
        except NetlinkError:  # somebody else changed it
            self.keep({**given.marks, **news})

    def keep(self, marks: Mapping[IPv4Address, int]) -> bool:
        """Have exactly these; whether the kernel had others than were given."""
        found = self._read()
        has_drifted = found != self._given
        if found is not None:
            self._change(found, marks)
        elif marks:
            self._write(marks)
        return has_drifted

    def read(self) -> Mapping[IPv4Address, int]:
        found = self._read()
        return {} if found is None else found.marks

    def _read(self) -> _Found | None:
        """None where the table is not there, or not of this shape."""
        if SOURCES_NFT_TABLE not in self._nftables.tables():
            return None
        chains = Counter(self._nftables.ruled_chains(SOURCES_NFT_TABLE))
        if any(count != 1 for count in chains.values()) or not chains.keys() >= {_ENTER, _OWN}:
            return None
        dump = self._nftables.elements(SOURCES_NFT_TABLE, _MAP)
        return _Found(
            marks={
                IPv4Address(key): _mark_of(chain)
                for part in self._messages.read(dump)
                for key, chain in part
            },
            chains=frozenset(map(_mark_of, chains.keys() - {_ENTER, _OWN})),
        )

    def _write(self, marks: Mapping[IPv4Address, int]) -> None:
        """All of it anew, in one transaction."""
        chains = frozenset(marks.values())
        # Added first, because only what exists can be deleted.
        self._commit(
            [
                nft.add_table(SOURCES_NFT_TABLE),
                nft.delete_table(SOURCES_NFT_TABLE),
                nft.add_table(SOURCES_NFT_TABLE),
                nft_sets.add_chain_map(SOURCES_NFT_TABLE, _MAP, key_bytes=_ADDRESS_BYTES),
                *_hook(_ENTER, nft.HOOK_PREROUTING, "filter"),
                *_hook(_OWN, nft.HOOK_OUTPUT, "route"),
                *_chains(chains),
                *_elements(marks),
            ],
            _Found(marks=dict(marks), chains=chains),
        )

    def _change(self, found: _Found, marks: Mapping[IPv4Address, int]) -> None:
        was = found.marks
        old = [a for a, mark in was.items() if marks.get(a) != mark]
        new = {a: mark for a, mark in marks.items() if was.get(a) != mark}
        chains = frozenset(new.values()) - found.chains
        changes = [
            *_chains(chains),
            *nft_sets.delete_elements(SOURCES_NFT_TABLE, _MAP, (a.packed for a in old)),
            *_elements(new),
        ]
        self._commit(changes, _Found(marks=dict(marks), chains=found.chains | chains))

    def _commit(self, changes: list[nft.Change], given: _Found) -> None:
        self._given = None  # until it is known
        if changes:
            self._nftables.commit(changes)
        self._given = given


def _hook(chain: str, hook: int, kind: str) -> tuple[nft.Change, ...]:
    return (
        nft.add_chain(
            SOURCES_NFT_TABLE, chain, hook=hook, priority=nft.PRIORITY_MANGLE, kind=kind
        ),
        nft.add_rule(SOURCES_NFT_TABLE, chain, nft.load_source(), nft_sets.go_by_map(_MAP)),
    )


def _chains(marks: Iterable[int]) -> Iterator[nft.Change]:
    """For each mark the chain that gives it, other bits left as they are."""
    for mark in sorted(marks):
        yield nft.add_bare_chain(SOURCES_NFT_TABLE, f"{_MARKING}{mark}")
        yield nft.add_rule(
            SOURCES_NFT_TABLE,
            f"{_MARKING}{mark}",
            nft.load_mark(),
            nft.mask(_ALL_BITS ^ SOURCE_MASK, xor=mark),
            nft.store_mark(),
        )


def _elements(marks: Mapping[IPv4Address, int]) -> list[nft.Change]:
    chains = {address.packed: f"{_MARKING}{mark}" for address, mark in marks.items()}
    return nft_sets.add_to_map(SOURCES_NFT_TABLE, _MAP, chains)


def _mark_of(chain: str) -> int:
    number = chain.removeprefix(_MARKING)
    return int(number) if number.isdecimal() else 0
