"""Adapters of batch systems. They know nothing of the proxy, the API or the store."""
