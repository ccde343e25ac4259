"""The bus, NATS: one door for connections, requests, answers and events."""
