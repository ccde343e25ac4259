"""Links: veth pairs made in one message, changed, moved between namespaces, looked up."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
import struct
from dataclasses import dataclass
from typing import Any, Final

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from .conversation import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    Conversation,
    Request,
)

RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_GETLINK: Final = 18
IFF_UP: Final = 0x1
NUD_PERMANENT: Final = 0x80

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
    message = _link(end.index or 0)
    message["attrs"] = [
        *_end_attributes(end, mtu),
        (
            "IFLA_LINKINFO",
            {
                "attrs": [
                    ("IFLA_INFO_KIND", "veth"),
                    ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", _peer(peer, mtu))]}),
                ]
            },
        ),
    ]
    what = f"add veth {end.name} with peer {peer.name}"
    return Request(what=what, kind=RTM_NEWLINK, flags=_CREATE, message=message)


def set_up(index: int) -> Request:
    return _set_flags(index, IFF_UP, "up")


def set_down(index: int) -> Request:
    return _set_flags(index, 0, "down")


def set_mtu(index: int, mtu: int) -> Request:
    return _set(index, f"mtu {mtu}", ("IFLA_MTU", mtu))


def set_mac(index: int, mac: str) -> Request:
    return _set(index, f"mac {mac}", ("IFLA_ADDRESS", mac))


def rename(index: int, name: str) -> Request:
    """Only a link that is down may change its name on older kernels."""
    return _set(index, f"name {name}", ("IFLA_IFNAME", name))


def move(index: int, netns: int, *, name: str | None = None) -> Request:
    """Into another namespace, by descriptor; it arrives down, under `name` if given."""
    attributes: list[tuple[str, Any]] = [("IFLA_NET_NS_FD", netns)]
    if name is not None:
        attributes.append(("IFLA_IFNAME", name))
    return _set(index, "namespace", *attributes)


def delete_link(index: int) -> Request:
    """With its peer, if it is a veth. A link that is gone counts as deleted."""
    return Request(
        what=f"delete link {index}",
        kind=RTM_DELLINK,
        flags=_CHANGE,
        message=_link(index),
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


def _link(index: int) -> ifinfmsg:
    message = ifinfmsg()
    message["index"] = index
    return message


def _end_attributes(end: VethEnd, mtu: int) -> list[tuple[str, Any]]:
    attributes: list[tuple[str, Any]] = [("IFLA_IFNAME", end.name), ("IFLA_MTU", mtu)]
    if end.mac is not None:
        attributes.append(("IFLA_ADDRESS", end.mac))
    if end.netns is not None:
        attributes.append(("IFLA_NET_NS_FD", end.netns))
    return attributes


def _peer(peer: VethEnd, mtu: int) -> dict[str, Any]:
    return {"index": peer.index or 0, "attrs": _end_attributes(peer, mtu)}


def _set_flags(index: int, flags: int, word: str) -> Request:
    message = _link(index)
    message["flags"] = flags
    message["change"] = IFF_UP
    return Request(
        what=f"set link {index} {word}", kind=RTM_NEWLINK, flags=_CHANGE, message=message
    )


def _set(index: int, what: str, *attributes: tuple[str, Any]) -> Request:
    message = _link(index)
    message["attrs"] = list(attributes)
    return Request(
        what=f"set link {index} {what}", kind=RTM_NEWLINK, flags=_CHANGE, message=message
    )
