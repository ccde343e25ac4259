"""Nodes and ENIs in Kubernetes: objects that show them, the node's taint, condition, events."""
