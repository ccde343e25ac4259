"""One file per step of a lease: each is one atomic transition in the store."""
