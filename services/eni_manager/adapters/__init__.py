"""The eni_manager's doors: the cloud, the store, the bus."""
