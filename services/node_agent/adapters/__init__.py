"""How it is done: files, netlink, HTTP, each behind a port."""
