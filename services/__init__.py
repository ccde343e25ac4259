"""The services of Berth. A service never imports another: they share messages."""
