"""Kubernetes objects as more than one service reads and writes them."""
