"""Which identity holds which address: leases, retention, fencing. Redis is the truth."""
