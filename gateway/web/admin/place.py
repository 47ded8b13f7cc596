"""Where the administrator's socket is; pure."""

#: What systemd makes of RuntimeDirectory=dask-gateway.
USUAL = "/run/dask-gateway/admin.sock"


def socket_path(configured: str | None, runtime_directory: str) -> str:
    """The path of the socket, empty for none.

    `configured` is the option, `runtime_directory` the variable of the environment: directories with colons between.
    """
    if configured is None:
        return ""
    folder = runtime_directory.partition(":")[0]
    return configured or (f"{folder}/admin.sock" if folder else "")
