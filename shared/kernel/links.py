"""Links: veth pairs made in one message, changed, moved between namespaces, looked up."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
import struct
from dataclasses import dataclass, replace
from typing import Final

from .conversation import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    Conversation,
    Request,
)
from .encoding import attribute, attributes, element, link_header, mac, number, text, u32

RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_GETLINK: Final = 18
IFF_UP: Final = 0x1
NUD_PERMANENT: Final = 0x80

_IFLA_ADDRESS: Final = 1
_IFLA_IFNAME: Final = 3
_IFLA_MTU: Final = 4
_IFLA_LINK: Final = 5
_IFLA_LINKINFO: Final = 18
_IFLA_IFALIAS: Final = 20
_IFLA_AF_SPEC: Final = 26
_IFLA_GROUP: Final = 27
_IFLA_NET_NS_FD: Final = 28
_IFLA_EXT_MASK: Final = 29
_IFLA_TX_QUEUES: Final = 31
_IFLA_RX_QUEUES: Final = 32
_INET_CONF: Final = 1
_INET6_CONF: Final = 2
_RP_FILTER: Final = 7  # place among a link's IPv4 settings
_DISABLE_IPV6: Final = 26  # place among its IPv6 settings
_NO_STATISTICS: Final = 8
_INFO_KIND: Final = 1
_INFO_DATA: Final = 2
_VETH_PEER: Final = 1

_HEADER: Final = struct.Struct("=BxHiII")  # ifinfomsg
_SIOCETHTOOL: Final = 0x8946
_ETHTOOL_GLINK: Final = 0xA
_CHANGE: Final = NLM_F_REQUEST | NLM_F_ACK
_CREATE: Final = _CHANGE | NLM_F_CREATE | NLM_F_EXCL
_MISSING: Final = frozenset({errno.ENODEV})
_ONE_QUEUE: Final = u32(_IFLA_TX_QUEUES, 1) + u32(_IFLA_RX_QUEUES, 1)


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
    rp_filter: int
    is_ipv6_off: bool
    alias: str = ""


def add_veth(end: VethEnd, peer: VethEnd, *, mtu: int) -> Request:
    """A pair, both ends down, named, addressed and placed by the creating message.

    Both MACs are given here, because an address policy of the host's udev changes a MAC that
    the kernel chose. One queue each way: unasked, the kernel makes one for every processor
    there could be, which takes half the time and serves nobody on a link without a queue
    discipline. The kernel refuses a pair that is up when it is made.
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


def set_up(index: int, *, alias: str = "") -> Request:
    """With an alias, of at most 255 bytes, in the same message: the kernel takes none in the
    one that makes a link."""
    attributes = (_alias(alias),) if alias else ()
    return _set_flags(index, IFF_UP, "up", *attributes)


def set_down(index: int) -> Request:
    return _set_flags(index, 0, "down")


def set_mtu(index: int, mtu: int) -> Request:
    return _set(index, f"mtu {mtu}", u32(_IFLA_MTU, mtu))


def set_alias(index: int, alias: str) -> Request:
    return _set(index, "alias", _alias(alias))


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


def set_group(index: int, group: int) -> Request:
    """A link that is gone is no error."""
    request = _set(index, f"group {group}", u32(_IFLA_GROUP, group))
    return replace(request, forgiven=_MISSING)


def delete_group(group: int) -> Request:
    """All links of a group at once, which takes the kernel as long as one. None is fine."""
    return Request(
        what=f"delete links of group {group}",
        kind=RTM_DELLINK,
        flags=_CHANGE,
        message=link_header(0) + u32(_IFLA_GROUP, group),
        forgiven=_MISSING,
    )


def links(conversation: Conversation) -> list[Link]:
    """Every link of the namespace."""
    return [read_link(message) for message in dump_links(conversation)]


def dump_links(conversation: Conversation) -> list[bytes]:
    """A message for each link, without what changes by itself: nothing is counted in it."""
    return conversation.dump(RTM_GETLINK, link_header(0) + u32(_IFLA_EXT_MASK, _NO_STATISTICS))


def read_link(message: bytes) -> Link:
    _, _, index, flags, _ = _HEADER.unpack_from(message)
    has = attributes(message, _HEADER.size)
    kind = attributes(has.get(_IFLA_LINKINFO, b""), 0).get(_INFO_KIND)
    families = attributes(has.get(_IFLA_AF_SPEC, b""), 0)
    ipv4 = attributes(families.get(socket.AF_INET, b""), 0).get(_INET_CONF)
    ipv6 = attributes(families.get(socket.AF_INET6, b""), 0).get(_INET6_CONF)
    return Link(
        index=index,
        name=has[_IFLA_IFNAME].rstrip(b"\0").decode(),
        mac=has.get(_IFLA_ADDRESS, b"").hex(":"),
        mtu=number(has.get(_IFLA_MTU)) or 0,
        is_up=bool(flags & IFF_UP),
        kind=kind.rstrip(b"\0").decode() if kind is not None else None,
        peer_index=number(has.get(_IFLA_LINK)),
        rp_filter=element(ipv4, _RP_FILTER),
        is_ipv6_off=ipv6 is None or element(ipv6, _DISABLE_IPV6) == 1,
        alias=has.get(_IFLA_IFALIAS, b"").rstrip(b"\0").decode(errors="replace"),
    )


def link_name(message: bytes) -> str:
    """What a notice about a link calls it."""
    return attributes(message, _HEADER.size)[_IFLA_IFNAME].rstrip(b"\0").decode()


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
    attributes = text(_IFLA_IFNAME, end.name) + u32(_IFLA_MTU, mtu) + _ONE_QUEUE
    if end.mac is not None:
        attributes += mac(_IFLA_ADDRESS, end.mac)
    if end.netns is not None:
        attributes += u32(_IFLA_NET_NS_FD, end.netns)
    return attributes


def _alias(alias: str) -> bytes:
    return attribute(_IFLA_IFALIAS, alias.encode())  # without a zero, which would be kept


def _set_flags(index: int, flags: int, word: str, *attributes: bytes) -> Request:
    message = link_header(index, flags=flags, change=IFF_UP) + b"".join(attributes)
    return Request(
        what=f"set link {index} {word}", kind=RTM_NEWLINK, flags=_CHANGE, message=message
    )


def _set(index: int, what: str, *attributes: bytes) -> Request:
    message = link_header(index) + b"".join(attributes)
    return Request(
        what=f"set link {index} {what}", kind=RTM_NEWLINK, flags=_CHANGE, message=message
    )
