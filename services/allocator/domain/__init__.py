"""What the allocator decides. Pure: no I/O, no clock."""
