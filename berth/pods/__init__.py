"""The pod runner: what kubelet and the container runtime are to a node, for a playground.

demo ──Unix socket──► runner (one per node, inside the instance's network namespace)
                        │  sandbox: a small process of ours in a namespace of its own
                        │  network: the CNI configuration list, called as libcni calls it
                        └─ probes: ICMP, TCP, UDP, from a pod or from the node itself
"""
