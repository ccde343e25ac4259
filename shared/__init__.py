"""Words, messages, bus, store, kernel and telemetry that two or more services use."""
