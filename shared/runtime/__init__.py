"""How a service lives: settings in, loops supervised, drained on SIGTERM."""
