"""Redis, JetStream and the bus, each behind a port of the domain."""
