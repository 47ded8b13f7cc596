"""Pages and websockets of a cluster's dashboard, fetched from its scheduler.

app.py is the ASGI application, request.py takes a request apart, guard.py lets
it in or not (access.py, links.py, hosts.py). upstream.py and
upstream_websocket.py speak with the dashboard; headers.py decides what passes
in either direction.

May import: config, proxy.
"""
