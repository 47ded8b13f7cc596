"""HTTP: the server, the router, and the routes of the API.

server.py serves connections that the proxy hands over, router.py sends each
request to its application, api.py answers for clusters.

May import: auth, clusters, config, proxy, proxy.dashboard, store.
"""
