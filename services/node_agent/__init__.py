"""The wire and the stock of one node: CNI verbs in, netlink out."""
