"""A small Kubernetes API server of the tests' own: real HTTP, real watches, real conflicts."""
