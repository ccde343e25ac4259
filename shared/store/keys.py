"""Every key of a cluster, built in one place.

All start with ``berth:{<cluster>}:``; the braces make them one slot of a Redis Cluster, so one
script may touch several. The second part names the owner, which permissions follow:
``lease:*`` is the allocator's, ``eni:*`` the eni_manager's.
"""

from __future__ import annotations

from shared.ids import ClusterName, NodeName, encode_token


def root(cluster: ClusterName) -> str:
    return f"berth:{{{encode_token(cluster)}}}:"


def lease_key(cluster: ClusterName, noun: str) -> str:
    """A key of the allocator's own: ``epoch``, ``fixed``, ``addresses``, ``unjournaled`` …"""
    return f"{root(cluster)}lease:{noun}"


def lease_node_key(cluster: ClusterName, noun: str, node: NodeName) -> str:
    """A key of the allocator's about one node: ``mark`` (fence), ``reported`` …"""
    return f"{root(cluster)}lease:{noun}:{encode_token(node)}"


def eni_key(cluster: ClusterName, noun: str) -> str:
    """A key of the eni_manager's own."""
    return f"{root(cluster)}eni:{noun}"


def eni_node_key(cluster: ClusterName, noun: str, node: NodeName) -> str:
    """A key of the eni_manager's about one node."""
    return f"{root(cluster)}eni:{noun}:{encode_token(node)}"
