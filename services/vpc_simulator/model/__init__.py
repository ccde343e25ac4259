"""What the cloud knows and decides: pure and synchronous, time and randomness as arguments."""
