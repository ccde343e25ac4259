"""The cloud as Berth needs it: one port, its words and its errors; no cloud by name."""
