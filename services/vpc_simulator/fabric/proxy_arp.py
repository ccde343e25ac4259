"""Have a port answer ARP for the rest of its subnet at once.

The kernel keeps a proxy's answer back for up to 0.8 s, and first pings are lost. The sysctl
that changes this is hidden in user namespaces; the neighbour table's own message is not.
"""

from __future__ import annotations

import socket
from typing import Final

from pyroute2.netlink.rtnl.ndtmsg import ndtmsg

from shared.kernel.conversation import NLM_F_ACK, NLM_F_REQUEST, Request

_RTM_SETNEIGHTBL: Final = 67


def answer_at_once(link: int) -> Request:
    message = ndtmsg()
    message["family"] = socket.AF_INET
    parameters = {"attrs": [("NDTPA_IFINDEX", link), ("NDTPA_PROXY_DELAY", 0)]}
    message["attrs"] = [("NDTA_NAME", "arp_cache"), ("NDTA_PARMS", parameters)]
    return Request(
        what=f"no ARP delay on link {link}",
        kind=_RTM_SETNEIGHTBL,
        flags=NLM_F_REQUEST | NLM_F_ACK,
        message=message,
    )
