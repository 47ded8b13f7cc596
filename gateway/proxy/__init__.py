"""The public port. It knows routes, and nothing of backends or clusters."""
