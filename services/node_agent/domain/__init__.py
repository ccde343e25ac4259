"""What an agent decides: attachments, stock, the wanted wire. Pure: no I/O, no clock."""
