"""Everything that crosses the bus: one subject family per file, all listed in `subjects`."""
