"""Options of the public port. Whatever serves it is handed an instance of them, and reads there what it needs."""

import re
from ipaddress import ip_network
from typing import Any

from gateway.addresses import check_listener
from gateway.config.fields import Memory, SettingError, configurable, retired, setting

_HOST_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?")

_ONE_PROCESS = "the proxy is part of this process"


def optional_listener(text: str) -> None:
    """Raise ValueError unless this is where a listener may be, or empty."""
    if text:
        check_listener(text)


def _prefix(text: str) -> str:
    prefix = text.rstrip("/")
    if prefix and not prefix.startswith("/"):
        raise ValueError("must begin with '/', or be empty")
    return prefix


def _networks(trusted: tuple[str, ...]) -> None:
    for text in trusted:
        if text != "unix":
            ip_network(text)


def _scheduler_networks(networks: tuple[str, ...]) -> None:
    for text in networks:
        ip_network(text)


def _host_names(names: tuple[str, ...]) -> None:
    for name in names:
        if not _HOST_NAME.fullmatch(name):
            raise ValueError(f"must be host names without a port, such as gateway.example.org, not {name!r}")


def _dashboard_host(pattern: str) -> str:
    if pattern and not (pattern.startswith("*.") and _HOST_NAME.fullmatch(pattern[2:])):
        raise ValueError("must be '*.' and a domain without a port, such as *.dash.example, or be empty")
    return pattern.rstrip(".").lower()


@configurable
class Proxy:
    """The public port: HTTP(S) for the API and dashboards, and the traffic between clients and schedulers."""

    address: str = setting(
        default=":8000",
        help="""Where to listen: HOST:PORT, [IPV6]:PORT, or :PORT for all interfaces; unix:/PATH for a socket
        that a fronting server connects to; fd://NUMBER for an inherited socket; systemd or systemd:NAME for those
        that systemd hands over.""",
        unit="host:port",
        validator=check_listener,
    )
    tcp_address: str = setting(
        default="",
        help="""Where to listen for the traffic between clients and schedulers, written like `address`. Empty: at
        `address`, with all else.""",
        unit="host:port",
        validator=optional_listener,
    )
    prefix: str = setting(
        default="",
        help="A path before all others, for a gateway that shares its host name. Slashes at its end are dropped.",
        convert=_prefix,
    )
    tls_key: str = setting(
        default="", help="The private key (a PEM file) for HTTPS; set tls_cert as well. Empty: plain HTTP."
    )
    tls_cert: str = setting(
        default="", help="The certificate, with its chain (a PEM file), for HTTPS; set tls_key as well."
    )

    scheduler_networks: tuple[str, ...] = setting(
        default=(),
        help="""The networks (10.0.0.0/8, fd00::/8) in which schedulers and their dashboards may be. Empty: any, but for
        loopback, link-local and this host's own addresses where jobs run on other hosts. A wide network does not stand
        for those: if schedulers of batch jobs run on this host, list 127.0.0.0/8 and its own addresses (10.0.0.5/32)
        beside it. The gateway's own ports are never connected to.""",
        validator=_scheduler_networks,
    )
    host_names: tuple[str, ...] = setting(
        default=(),
        help="""Names of this gateway that people use. Only asked for where users need no password (there, whoever owns
        any other name could give it this gateway's address, and ask in the name of those who visit a page of theirs),
        and by MungeAuthenticator.
        Addresses, localhost, this host's own name, and the names in addresses and URLs of the configuration are always
        among them. With dashboard_host, the first one is where browsers are sent to be known.""",
        validator=_host_names,
    )
    dashboard_access: str = setting(
        default="link",
        choices=("link", "owner", "open"),
        help="""Who may see a dashboard. "link": whoever has a link to it that has not expired, as the client is told
        it (cluster.dashboard_link); the owner's browser, logged in, needs none. "owner": only those logged in who may
        see the cluster; links live for ten minutes, and no program, such as dask-labextension, sees anything. "open":
        whoever knows the cluster's name, as in the original.""",
    )
    dashboard_link_max_age: int = setting(
        default=7 * 24 * 3600,
        minimum=60,
        unit="seconds",
        help="""How long a link opens its dashboard, at most; at least seven eighths of it. The client asks for one when
        it connects, and keeps it; so the default is as long as batch systems let most jobs run.""",
    )
    dashboard_host: str = setting(
        default="",
        help="""A host of its own for each dashboard, such as "*.dash.example": the star stands for the cluster's name.
        These names have to lead here, and the certificate for HTTPS has to be for them too. Take a domain that shares
        no cookies with anything: neither the gateway's name nor a site's single sign-on should be above it. There, no
        sandbox keeps dashboards from what a web site can do. Needs host_names. Empty: below the gateway's own name, in
        a sandbox.""",
        convert=_dashboard_host,
    )
    trusted_proxies: tuple[str, ...] = setting(
        default=(),
        help="""Addresses and networks (10.0.0.5, 10.1.0.0/16, or "unix" for a Unix socket) of proxies in front of
        this one. Their connections must begin with a header of the PROXY protocol, which says who the client is.""",
        validator=_networks,
    )
    max_connections: int = setting(
        default=16384,
        minimum=1,
        help="""Connections open at the same time at each port, of all clients and kinds. When there are as many, silent
        and idle ones are ended for new ones, first those of the address that has most. An eighth is kept for relays and
        jobs, another for everybody else.""",
    )
    max_connections_per_address: int = setting(
        default=8192,
        minimum=1,
        help="""Connections of one client address (or IPv6 /64). A hub for notebooks is one address with hundreds of
        users.""",
    )
    max_undecided: int = setting(
        default=1024,
        minimum=1,
        help="Connections that have not asked for anything yet, of all clients; the oldest goes.",
    )
    first_byte_timeout: float = setting(
        default=20.0, minimum=0.1, unit="seconds", help="A connection that says nothing for so long is closed."
    )
    hello_timeout: float = setting(
        default=10.0,
        minimum=0.1,
        unit="seconds",
        help="From its first byte a TLS hello has so long to be complete, and then the handshake with us.",
    )
    head_timeout: float = setting(
        default=20.0,
        minimum=0.1,
        unit="seconds",
        help="From its first byte, the head of a request (its target and headers) has so long to be complete.",
    )
    connect_timeout: float = setting(
        default=10.0, minimum=0.1, unit="seconds", help="A scheduler or dashboard has so long to accept a connection."
    )
    dashboard_timeout: float = setting(
        default=60.0, minimum=0.1, unit="seconds", help="A dashboard has so long to begin its answer to a request."
    )
    websocket_message_size: int = setting(
        default=20 * 1024 * 1024,
        minimum=1024,
        unit="bytes",
        help="The largest websocket message to and from a dashboard; the default is Bokeh's own limit.",
    )
    memory_budget: Memory = setting(
        default="256 M",
        minimum=16 * 1024 * 1024,
        unit="bytes",
        help="""What all connections together may make the gateway hold of what they send, besides the first 4 KiB of
        each: large requests, pages and messages on their way. Beyond it reading waits, or goes on in small pieces. One
        address or user may have a quarter.""",
    )
    dead_peer_timeout: float = setting(
        default=300.0,
        minimum=3.0,
        unit="seconds",
        help="A peer that has vanished without a word, or that takes nothing, is given up after so long.",
    )
    shutdown_grace: float = setting(
        default=5.0, minimum=0.0, unit="seconds", help="When the server stops, open connections have so long to end."
    )

    externally_managed: Any = retired(_ONE_PROCESS)
    proxy_status_period: Any = retired(_ONE_PROCESS)
    api_token: Any = retired(f"{_ONE_PROCESS}, which needs no token to talk to itself", secret=True)
    max_events: Any = retired(f"{_ONE_PROCESS} and cannot miss a change of routes")
    gateway_url: Any = retired(_ONE_PROCESS)
    log_level: Any = retired(f"{_ONE_PROCESS}; set c.DaskGateway.log_level")

    def __attrs_post_init__(self) -> None:
        """Refuse half of a key pair, and hosts of dashboards without one of the gateway."""
        if bool(self.tls_key) != bool(self.tls_cert):
            there, missing = ("tls_key", "tls_cert") if self.tls_key else ("tls_cert", "tls_key")
            raise SettingError(there, f"needs {missing}: HTTPS takes both", value=getattr(self, there))
        if self.dashboard_host and not self.host_names:
            reason = "needs host_names: browsers are sent to the first of them to be known"
            raise SettingError("dashboard_host", reason, value=self.dashboard_host)
