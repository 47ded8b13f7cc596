"""Pages and websockets of a cluster's dashboard, fetched from its scheduler.

app.py is the ASGI application; headers.py decides what passes in either
direction.

May import: proxy.
"""
