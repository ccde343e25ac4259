"""The store, Redis: one door for connections, key names and scripts."""
