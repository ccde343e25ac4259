"""``berth demo``: a user's manifest on a cloud of real namespaces, with every promise checked.

`story` tells it in steps; `stage` starts, deletes and probes pods on the nodes; `world` asks
the bus and the cloud what they hold; `checks` keeps the score; `report` shows it to people.
"""
