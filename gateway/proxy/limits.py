"""What the public port grants its clients: deadlines in seconds, sizes in bytes, numbers of connections."""

from attrs import frozen


@frozen(kw_only=True)
class PortLimits:
    """The defaults suit one gateway for a few hundred users; tests and sites choose others."""

    #: A connection that says nothing for so long is closed (browsers open some in advance).
    first_byte_timeout: float = 20.0
    #: From its first byte, a ClientHello must be complete, and then the handshake with us, within so long.
    hello_timeout: float = 10.0
    #: From its first byte, the head of a request for HTTP must be complete within so long.
    head_timeout: float = 20.0
    #: A scheduler or dashboard must accept a connection within so long, at each address that its name stands for.
    connect_timeout: float = 10.0
    #: A dashboard must begin to answer a request within so long; Bokeh's first page can take seconds to build.
    dashboard_timeout: float = 60.0
    #: The largest websocket message carried to and from a dashboard: Bokeh's own limit. It passes in pieces.
    websocket_message_size: int = 20 * 1024 * 1024
    #: A peer that has vanished without a word is given up after so long; so is one that reads nothing.
    dead_peer_timeout: float = 300.0
    #: At a stop, open connections have so long to end by themselves.
    shutdown_grace: float = 5.0
    #: Connections open at the same time at one port: of all clients, of one address (or IPv6 /64), and of those that
    #: have not yet asked for anything. A hub for notebooks is one address with hundreds of users behind it. Who has to
    #: go when there are as many: admission.py.
    max_connections: int = 16384
    max_connections_per_address: int = 8192
    max_undecided: int = 1024


DEFAULT_LIMITS = PortLimits()
