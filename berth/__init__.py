"""The ``berth`` command line, the playground it starts, and the demo."""
