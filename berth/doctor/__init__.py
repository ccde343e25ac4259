"""``berth doctor``: the three books of every address, compared."""
