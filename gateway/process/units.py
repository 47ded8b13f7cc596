"""The units with which systemd runs the gateway, and the launcher daemon where there is one (pure).

There are two forms. With sudo the gateway's children become its users, so its
unit closes only what sudo can do without: most of systemd's settings imply
NoNewPrivileges for a service that is not root's. With the daemon nothing below
the gateway is anybody else, and everything is closed.

What acts as users, which is below the gateway in the first form and below the
daemon in the second, sees the host as its users do: their homes, /tmp (where
tickets may be), and the limits and the umask that batch systems hand on to jobs.
"""

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from attrs import Attribute, field, frozen

from gateway.addresses import parse_address

GATEWAY, LAUNCHER = "dask-gateway", "dask-gateway-launcherd"
#: What systemd makes for the gateway as long as it runs.
RUNTIME = f"/run/{GATEWAY}"

_PLAIN = re.compile(r"[A-Za-z0-9/._+@:=\[\]-]*")

#: The first line of each unit: what has it was written here, and may be written anew.
MARK = "# Written by `dask-gateway-server systemd-unit`. Lines of your own: `systemctl edit`, which keeps them apart."


def _plain(installation: object, attribute: "Attribute[Any]", value: Any) -> None:
    for text in (value,) if isinstance(value, str) else value:
        if not _PLAIN.fullmatch(text):
            raise ValueError(f"{text!r} cannot stand in a unit: only letters, digits and /._+@:=[]- can, so move it")


@frozen(kw_only=True)
class Installation:
    """What units are about. Paths are absolute, and nothing in them needs quotes: else ValueError is raised.

    `folder` holds the programs, `directory` is the gateway's own, `writable` are further ones that it writes to, and
    `files` what it reads. `addresses` are where it listens, as the configuration has them. Without a
    `launcher_socket` the form is the one for sudo. `setuid_helpers` says whether batch commands need rights of setuid
    programs, as PBS's do.
    """

    folder: str = field(validator=_plain)
    config: str = field(validator=_plain)
    user: str = field(validator=_plain)
    directory: str = field(validator=_plain)
    addresses: tuple[str, ...] = field(validator=_plain)
    writable: tuple[str, ...] = field(default=(), validator=_plain)
    files: tuple[str, ...] = ()
    launcher_socket: str = field(default="", validator=_plain)
    setuid_helpers: bool = False


def render_units(installation: Installation) -> Mapping[str, str]:
    """The text of each unit, by its file's name."""
    streams = [stream for address in installation.addresses if (stream := listen_stream(address))]
    units = {}
    if streams:
        units[f"{GATEWAY}.socket"] = _GATEWAY_SOCKET.format(
            streams="\n".join(f"ListenStream={stream}" for stream in dict.fromkeys(streams))
        )
    units[f"{GATEWAY}.service"] = _gateway_service(installation, bool(streams))
    if installation.launcher_socket:
        units[f"{LAUNCHER}.socket"] = _LAUNCHER_SOCKET.format(path=installation.launcher_socket, user=installation.user)
        units[f"{LAUNCHER}.service"] = _launcher_service(installation)
    return {name: f"{MARK}\n{text}" for name, text in units.items()}


def next_steps(installation: Installation) -> str:
    """What an administrator does with installed units."""
    units = " ".join(name for name in render_units(installation) if name != f"{LAUNCHER}.service")
    lines = [f"Next: systemctl enable --now {units}"]
    if installation.launcher_socket:
        lines = [
            "/etc/dask-gateway/launcher.conf has to say whom the launcher obeys, and as whom jobs may run:",
            "    [policy]",
            f"    gateway = {installation.user}",
            "    groups = dask_users",
            *(["    no_new_privileges = no"] if installation.setuid_helpers else []),
            *lines,
        ]
    return "\n".join(lines)


def listen_stream(address: str) -> str:
    """Where systemd has to listen in the gateway's place; empty where it cannot, or is told to by other units.

    Who may connect to a Unix socket is decided by its folder, which is the site's: the gateway listens there itself.
    """
    try:
        host, port = parse_address(address)
        ip_address(host.partition("%")[0] or "::")
    except ValueError:  # a name, which systemd does not look up; unix:, fd://, systemd:
        return ""
    if not port:
        return ""
    return str(port) if host in ("", "::") else address


def _gateway_service(installation: Installation, has_socket: bool) -> str:
    sockets = [f"{GATEWAY}.socket"] if has_socket else []
    sockets += [f"{LAUNCHER}.socket"] if installation.launcher_socket else []
    return _GATEWAY_SERVICE.format(
        folder=installation.folder,
        config=installation.config,
        user=installation.user,
        directory=installation.directory,
        sockets="".join(f"Requires={socket}\nAfter={socket}\n" for socket in sockets),
        hardening="\n".join(_closed(installation) if installation.launcher_socket else _open_for_sudo(installation)),
    )


def _launcher_service(installation: Installation) -> str:
    return _LAUNCHER_SERVICE.format(folder=installation.folder, hardening="\n".join(_open_for_users(installation)))


def _open_for_sudo(installation: Installation) -> Iterator[str]:
    """What is closed where sudo has to work."""
    # sudo itself, its sessions (limits, the audit log), and setuid programs of the batch system.
    capabilities = "CAP_SETUID CAP_SETGID CAP_KILL CAP_SYS_RESOURCE CAP_AUDIT_WRITE"
    yield "# sudo has to work here, for which most settings are too much; the form for the daemon has them."
    yield f"CapabilityBoundingSet={capabilities}{' CAP_NET_BIND_SERVICE' if installation.setuid_helpers else ''}"
    yield "ProtectSystem=full"
    yield "ProtectControlGroups=yes"
    yield "DevicePolicy=closed"
    yield "RemoveIPC=yes"


_KERNEL = """\
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM"""


def _closed(installation: Installation) -> Iterator[str]:
    """Everything, since nothing that runs below the gateway is anybody else."""
    yield "UMask=0077"
    yield "NoNewPrivileges=yes"
    yield "CapabilityBoundingSet="
    yield "AmbientCapabilities="
    yield "ProtectSystem=strict"
    writable = [path for path in installation.writable if path not in (installation.directory, RUNTIME)]
    yield f"ReadWritePaths={' '.join([installation.directory, *(f'-{path}' for path in dict.fromkeys(writable))])}"
    read = installation.directory, installation.folder, installation.config, *installation.files
    at_home = any(map(_is_home, (*read, *writable)))
    yield f"ProtectHome={'read-only' if at_home else 'yes'}"
    yield "PrivateTmp=yes"
    yield "PrivateMounts=yes"
    yield "PrivateIPC=yes"
    yield _KERNEL
    yield "SystemCallFilter=~@privileged @resources"
    yield "MemoryDenyWriteExecute=yes"
    yield "RemoveIPC=yes"
    yield "# Not ProtectProc: whether this host is a compute node as well, the gateway sees by the node's daemon."
    yield "# Not PrivateUsers: who uses the administrator's socket is asked of the kernel, which then knows no others."


def _is_home(path: str) -> bool:
    return path.startswith(("/home/", "/root/", "/run/user/"))


def _open_for_users(installation: Installation) -> Iterator[str]:
    """What neither becoming a user nor a user's submission needs."""
    capabilities = "CAP_SETUID CAP_SETGID CAP_KILL"
    if installation.setuid_helpers:
        yield "# Commands of this batch system prove who calls them with a setuid program, at a port below 1024."
        yield f"CapabilityBoundingSet={capabilities} CAP_NET_BIND_SERVICE"
    else:
        yield f"CapabilityBoundingSet={capabilities}"
        yield "NoNewPrivileges=yes"
    yield "ProtectSystem=full"
    yield _KERNEL


_GATEWAY_SOCKET = """\
[Unit]
Description=Ports of the Dask gateway

[Socket]
{streams}
BindIPv6Only=both
FreeBind=yes
Backlog=4096

[Install]
WantedBy=sockets.target
"""

_GATEWAY_SERVICE = """\
[Unit]
Description=Dask gateway
{sockets}Wants=network-online.target
After=network-online.target nss-user-lookup.target remote-fs.target munge.service

[Service]
Type=notify
User={user}
WorkingDirectory={directory}
RuntimeDirectory=dask-gateway
Environment=PATH={folder}:/usr/local/bin:/usr/bin:/bin
ExecStart={folder}/dask-gateway-server -f {config}
Restart=on-failure
RestartSec=5
# A mistake in the configuration, which no restart mends.
RestartPreventExitStatus=2
TimeoutStartSec=120
TimeoutStopSec=60
# It is fed while the database, the batch system's driver and the loop go on.
WatchdogSec=120
TimeoutAbortSec=15
KillMode=mixed
# One process of a user's that takes too much memory is not the end of all.
OOMPolicy=continue
LimitNOFILE=65536
LimitCORE=0

{hardening}

[Install]
WantedBy=multi-user.target
"""

_LAUNCHER_SOCKET = """\
[Unit]
Description=Socket of the Dask gateway's launcher

[Socket]
ListenStream={path}
SocketUser={user}
SocketMode=0600
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
"""

_LAUNCHER_SERVICE = """\
[Unit]
Description=Launcher of the Dask gateway, which submits jobs as their users
PartOf=dask-gateway.service
After=nss-user-lookup.target remote-fs.target munge.service

[Service]
Type=exec
ExecStart={folder}/dask-gateway-launcherd
KillMode=mixed
TimeoutStopSec=45
OOMPolicy=continue
MemoryMax=2G
# Slurm gives jobs the limits and the umask of whoever submits them (PropagateResourceLimits in slurm.conf).
UMask=0022
LimitMEMLOCK=infinity

{hardening}
"""
