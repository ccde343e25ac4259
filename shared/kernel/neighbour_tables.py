"""What the kernel keeps of neighbour tables themselves: only the simulated network changes it.

pyroute2 builds the message. Nothing that an agent imports does: the library takes 9 MiB.
"""

from __future__ import annotations

import socket
from typing import Final

from pyroute2.netlink.rtnl.ndtmsg import ndtmsg

from .conversation import HEADER, NLM_F_ACK, NLM_F_REQUEST, Request

_RTM_SETNEIGHTBL: Final = 67


def answer_proxied_arp_at_once(link: int) -> Request:
    """The kernel keeps a proxy's answer back for up to 0.8 s, and first pings are lost.

    The sysctl that changes this is hidden in user namespaces; the neighbour table's own message
    is not.
    """
    message = ndtmsg()
    message["family"] = socket.AF_INET
    parameters = {"attrs": [("NDTPA_IFINDEX", link), ("NDTPA_PROXY_DELAY", 0)]}
    message["attrs"] = [("NDTA_NAME", "arp_cache"), ("NDTA_PARMS", parameters)]
    message.encode()
    return Request(
        what=f"no ARP delay on link {link}",
        kind=_RTM_SETNEIGHTBL,
        flags=NLM_F_REQUEST | NLM_F_ACK,
        message=bytes(message.data[HEADER.size :]),
    )
