"""A VPC on one machine: the cloud's own API over HTTP, and a network that obeys it."""
