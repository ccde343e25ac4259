"""The cloud's outward faces over HTTP: its API, instance metadata, and a door for operators."""
