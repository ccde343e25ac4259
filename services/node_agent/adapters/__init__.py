"""What the agent needs of the world, one technology a module."""
