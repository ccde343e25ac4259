"""The allocator's Kubernetes side: webhooks, scheduler extender, mirrored objects, events."""
