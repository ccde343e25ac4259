"""What exists at the cloud, and where: ENIs, their addresses, stock for nodes, moves."""
