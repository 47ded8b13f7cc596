"""The public port: it looks at each connection's first bytes, and relays it or serves HTTP on it.

port.py is the port, detect.py the look at a connection. It knows routes
(routes.py), and nothing of clusters or backends. `python -m gateway.proxy` is
the port alone, for benchmarks.

May import: config, proxy.relay.
"""
