"""The one door to the kernel: namespaces, netlink, nftables, sysctls, sockets in namespaces.

Synchronous on purpose: a batch of netlink messages takes about a millisecond, less than handing
it to a thread, so it is called straight from the event loop.
"""
