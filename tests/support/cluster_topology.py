"""A cloud whose pods have subnets without nodes' ENIs, one of them shared with a stranger."""

from __future__ import annotations

STRANGER = "10.0.2.5"
_NODES = (
    ("one", "zone-1", "subnet-a"),
    ("two", "zone-1", "subnet-a"),
    ("far", "zone-2", "subnet-b"),
)


def apart(topology: dict[str, object]) -> None:
    """Change the tests' usual cloud so."""
    topology["subnets"] = [
        {"id": "subnet-a", "cidr": "10.0.1.0/24", "zone": "zone-1"},
        {"id": "subnet-small", "cidr": "10.0.2.0/28", "zone": "zone-1"},
        {"id": "subnet-b", "cidr": "10.0.3.0/24", "zone": "zone-2"},
        {"id": "subnet-pods", "cidr": "10.0.4.0/24", "zone": "zone-1"},
        {"id": "subnet-more", "cidr": "10.0.6.0/24", "zone": "zone-1"},
        {"id": "subnet-far", "cidr": "10.0.5.0/24", "zone": "zone-2"},
    ]
    topology["foreign_addresses"] = [
        {"subnet": "subnet-small", "address": STRANGER, "type": "CLB"}
    ]
    topology["instances"] = [
        {
            "id": f"ins-{name}",
            "node": f"node-{number}",
            "zone": zone,
            "subnet": subnet,
            "quota": {"enis": 3, "addresses_per_eni": 6},
        }
        for number, (name, zone, subnet) in enumerate(_NODES, 1)
    ]
    topology["limits"] = {"rates_per_s": {"DescribeNetworkInterfaces": 1000}}
