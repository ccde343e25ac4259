"""Settings of the eni_manager's Kubernetes side."""

from __future__ import annotations

from shared.kubernetes.settings import KubernetesAccess
from shared.settings import Seconds


class NodeObjectSettings(KubernetesAccess):
    kubernetes: bool = False
    """Show nodes and ENIs as Kubernetes objects, taint new nodes until they can serve, and hear
    when a Node is deleted."""

    kubernetes_node_selector: str = ""
    """Labels of the Nodes that agents run on, such as kubernetes.io/os=linux; none: all."""

    kubernetes_gone_after_s: Seconds = 60.0
    """A node without a Node object ends once its agent was silent for so long, if its machine
    does not run; asked again as often."""
