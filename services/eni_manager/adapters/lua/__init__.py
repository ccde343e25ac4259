"""One script per step; each names its keys and arguments in its first lines."""
