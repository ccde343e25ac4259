"""Our nftables table: connections that enter by the primary ENI are answered by it.

A packet for one of the node's own addresses (a nodePort, a hostPort) marks its connection; what
a pod answers on a marked connection gets the mark, and a rule leads it to main. With masquerade
on, what leaves by the primary ENI for the world beyond gets the node's source.

A pod with an ENI of its own answers by that ENI, unless it is asked by the node. So what it
sends out by the node, and what the node sends it under a translated destination, has the node's
source.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Final

from services.node_agent.domain.wiring import NFT_TABLE, Ingress
from shared.kernel import nftables as nft

_ENTER: Final = "enter"
_LEAVE: Final = "leave"
_LOCAL: Final = 2  # the routing tables hold the destination for this machine's own
_DESTINATION_TRANSLATED: Final = 1 << 5  # IPS_DST_NAT of a connection's status
_ALL_BITS: Final = 0xFFFF_FFFF


class IngressTable:
    """Written whole, in one transaction, when it is not as wanted."""

    def __init__(self) -> None:
        self._nftables = nft.Nftables()
        self._kept: Ingress | None = None

    def close(self) -> None:
        self._nftables.close()

    def keep(self, ingress: Ingress | None) -> bool:
        """Whether it had to be written (or removed)."""
        is_there = NFT_TABLE in self._nftables.tables()
        if ingress is None:
            if is_there:
                self._nftables.commit([nft.delete_table(NFT_TABLE)])
            return is_there
        wanted = ingress
        if is_there and self._kept == wanted and self._is_whole(ingress):
            return False
        # Added first, because only what exists can be deleted, and then made anew.
        self._nftables.commit(
            [nft.add_table(NFT_TABLE), nft.delete_table(NFT_TABLE), *_changes(ingress)]
        )
        self._kept = wanted
        return True

    def _is_whole(self, ingress: Ingress) -> bool:
        leaving = 2 if ingress.masquerade_except is None else 3
        return (
            len(self._nftables.packets(NFT_TABLE, _ENTER)) == 3
            and len(self._nftables.packets(NFT_TABLE, _LEAVE)) == leaving
        )


def _changes(ingress: Ingress) -> list[nft.Change]:
    primary = nft.own_order(ingress.primary_index)
    set_bit = nft.mask(_ALL_BITS ^ ingress.mark, xor=ingress.mark)
    changes = [
        nft.add_table(NFT_TABLE),
        nft.add_chain(
            NFT_TABLE, _ENTER, hook=nft.HOOK_PREROUTING, priority=nft.PRIORITY_MANGLE
        ),
        nft.add_chain(
            NFT_TABLE,
            _LEAVE,
            hook=nft.HOOK_POSTROUTING,
            priority=nft.PRIORITY_SOURCE_NAT,
            kind="nat",
        ),
        nft.add_rule(
            NFT_TABLE,
            _ENTER,
            nft.load_iif(),
            nft.equals(primary),
            nft.load_destination_type(),
            nft.equals(nft.own_order(_LOCAL)),
            nft.load_connection_mark(),
            set_bit,
            nft.store_connection_mark(),
        ),
        nft.add_rule(
            NFT_TABLE,
            _ENTER,
            nft.load_iif(),
            nft.differs(primary),
            nft.load_connection_mark(),
            nft.mask(ingress.mark),
            nft.equals(nft.own_order(ingress.mark)),
            nft.load_mark(),
            set_bit,
            nft.store_mark(),
        ),
        *_exclusive(ingress),
    ]
    if ingress.masquerade_except is not None:
        changes.append(_masquerade(ingress, ingress.masquerade_except))
    return changes


def _exclusive(ingress: Ingress) -> tuple[nft.Change, ...]:
    mark = ingress.exclusive_mark
    node = nft.source_nat(ingress.primary_address)
    from_pod = nft.add_rule(
        NFT_TABLE,
        _ENTER,
        nft.load_iif_name(),
        nft.begins_with(ingress.exclusive_prefix),
        nft.load_connection_mark(),
        nft.mask(_ALL_BITS ^ mark, xor=mark),
        nft.store_connection_mark(),
    )
    out = nft.add_rule(
        NFT_TABLE,
        _LEAVE,
        nft.load_oif(),
        nft.equals(nft.own_order(ingress.primary_index)),
        nft.load_connection_mark(),
        nft.mask(mark),
        nft.equals(nft.own_order(mark)),
        *node,
    )
    to_pod = nft.add_rule(
        NFT_TABLE,
        _LEAVE,
        nft.load_oif_name(),
        nft.begins_with(ingress.exclusive_prefix),
        nft.load_connection_status(),
        nft.mask(_DESTINATION_TRANSLATED),
        nft.differs(nft.own_order(0)),
        *node,
    )
    return from_pod, out, to_pod


def _masquerade(ingress: Ingress, kept: tuple[IPv4Network, ...]) -> nft.Change:
    """The node's source for what leaves by the primary ENI beyond the networks kept."""
    beyond = [
        expression
        for cidr in kept
        for expression in (
            nft.load_destination(),
            nft.mask_network(cidr),
            nft.differs(cidr.network_address.packed),
        )
    ]
    return nft.add_rule(
        NFT_TABLE,
        _LEAVE,
        nft.load_oif(),
        nft.equals(nft.own_order(ingress.primary_index)),
        nft.load_source(),
        nft.differs(ingress.primary_address.packed),
        *beyond,
        nft.masquerade(),
    )
