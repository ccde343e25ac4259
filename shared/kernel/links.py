"""Links: veth pairs made in one message, changed, moved between namespaces, looked up."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
import struct
from dataclasses import dataclass
from typing import Final

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from .conversation import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    Conversation,
    Request,
)
from .encoding import attribute, link_header, mac, text, u32

RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_GETLINK: Final = 18
IFF_UP: Final = 0x1
NUD_PERMANENT: Final = 0x80

_IFLA_ADDRESS: Final = 1
_IFLA_IFNAME: Final = 3
_IFLA_MTU: Final = 4
_IFLA_LINKINFO: Final = 18
_IFLA_NET_NS_FD: Final = 28
_INFO_KIND: Final = 1
_INFO_DATA: Final = 2
_VETH_PEER: Final = 1

_SIOCETHTOOL: Final = 0x8946
_ETHTOOL_GLINK: Final = 0xA
_CHANGE: Final = NLM_F_REQUEST | NLM_F_ACK
_CREATE: Final = _CHANGE | NLM_F_CREATE | NLM_F_EXCL
_MISSING: Final = frozenset({errno.ENODEV})


@dataclass(frozen=True, slots=True, kw_only=True)
class VethEnd:
    """One end of a pair to be made. `netns` None: the conversation's own namespace."""

    name: str
    mac: str | None = None
    index: int | None = None
    netns: int | None = None  # descriptor


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link as the kernel tells of it."""

    index: int
    name: str
    mac: str
    mtu: int
    is_up: bool
    kind: str | None  # veth, dummy …; None for devices
    peer_index: int | None  # of a veth, in its peer's namespace


def add_veth(end: VethEnd, peer: VethEnd, *, mtu: int) -> Request:
    """A pair, both ends down, named, addressed and placed by the creating message.

    Both MACs are given here, because an address policy of the host's udev changes a MAC that
    the kernel chose. The kernel refuses a pair that is up when it is made.
    """
    peer_body = link_header(peer.index or 0) + _end_attributes(peer, mtu)
    message = b"".join(
        (
            link_header(end.index or 0),
            _end_attributes(end, mtu),
            attribute(
                _IFLA_LINKINFO,
                text(_INFO_KIND, "veth"),
                attribute(_INFO_DATA, attribute(_VETH_PEER, peer_body)),
            ),
        )
    )
    what = f"add veth {end.name} with peer {peer.name}"
    return Request(what=what, kind=RTM_NEWLINK, flags=_CREATE, message=message)


def set_up(index: int) -> Request:
    return _set_flags(index, IFF_UP, "up")


def set_down(index: int) -> Request:
    return _set_flags(index, 0, "down")


def set_mtu(index: int, mtu: int) -> Request:
    return _set(index, f"mtu {mtu}", u32(_IFLA_MTU, mtu))


def set_mac(index: int, address: str) -> Request:
    return _set(index, f"mac {address}", mac(_IFLA_ADDRESS, address))


def rename(index: int, name: str) -> Request:
    """Only a link that is down may change its name on older kernels."""
    return _set(index, f"name {name}", text(_IFLA_IFNAME, name))


def move(index: int, netns: int, *, name: str | None = None) -> Request:
    """Into another namespace, by descriptor; it arrives down, under `name` if given."""
    attributes = [u32(_IFLA_NET_NS_FD, netns)]
    if name is not None:
        attributes.append(text(_IFLA_IFNAME, name))
    return _set(index, "namespace", *attributes)


def delete_link(index: int) -> Request:
    """With its peer, if it is a veth. A link that is gone counts as deleted."""
    return Request(
        what=f"delete link {index}",
        kind=RTM_DELLINK,
        flags=_CHANGE,
        message=link_header(index),
        forgiven=_MISSING,
    )


def links(conversation: Conversation) -> list[Link]:
    """Every link of the namespace."""
    found = []
    for data in conversation.dump(RTM_GETLINK, ifinfmsg()):
        message = ifinfmsg(data)
        message.decode()
        info = message.get_attr("IFLA_LINKINFO")
        found.append(
            Link(
                index=int(message["index"]),
                name=str(message.get_attr("IFLA_IFNAME")),
                mac=str(message.get_attr("IFLA_ADDRESS") or ""),
                mtu=int(message.get_attr("IFLA_MTU") or 0),
                is_up=bool(message["flags"] & IFF_UP),
                kind=info.get_attr("IFLA_INFO_KIND") if info is not None else None,
                peer_index=message.get_attr("IFLA_LINK"),
            )
        )
    return found


def link_by_name(conversation: Conversation, name: str) -> Link | None:
    return next((link for link in links(conversation) if link.name == name), None)


def link_by_mac(conversation: Conversation, mac: str) -> Link | None:
    return next((link for link in links(conversation) if link.mac == mac), None)


def settle_carrier(probe: socket.socket, name: str) -> bool:
    """Whether the link can send now. `probe` is any socket of the link's namespace.

    The first end of a pair to come up gets its carrier when the second does, and the kernel
    acts on that in the background: until then it drops what is sent. Asking by ethtool makes
    it act at once.
    """
    value = ctypes.create_string_buffer(struct.pack("=II", _ETHTOOL_GLINK, 0))
    request = struct.pack("=16sQ16x", name.encode(), ctypes.addressof(value))
    fcntl.ioctl(probe, _SIOCETHTOOL, request)
    return bool(struct.unpack_from("=II", value.raw)[1])


def _end_attributes(end: VethEnd, mtu: int) -> bytes:
    attributes = text(_IFLA_IFNAME, end.name) + u32(_IFLA_MTU, mtu)
    if end.mac is not None:
        attributes += mac(_IFLA_ADDRESS, end.mac)
    if end.netns is not None:
        attributes += u32(_IFLA_NET_NS_FD, end.netns)
    return attributes


def _set_flags(index: int, flags: int, word: str) -> Request:
    message = link_header(index, flags=flags, change=IFF_UP)
    return Request(
        what=f"set link {index} {word}", kind=RTM_NEWLINK, flags=_CHANGE, message=message
    )


def _set(index: int, what: str, *attributes: bytes) -> Request:
    message = link_header(index) + b"".join(attributes)
    return Request(
        what=f"set link {index} {what}", kind=RTM_NEWLINK, flags=_CHANGE, message=message
    )
