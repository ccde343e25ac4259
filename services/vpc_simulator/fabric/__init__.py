"""A VPC of real packets: namespaces, links and routes, held by one process.

`namespace_fabric` is what the simulator uses. It starts `worker`, a process in namespaces of
its own, and speaks with it in `requests` over a `channel`. The worker's `network` holds the
instances and their ENIs, its `router` delivers. When either process dies, the kernel frees all.
"""
