"""What the eni_manager decides, without I/O and without a clock."""
