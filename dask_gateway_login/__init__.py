"""Ways to log in to a Dask gateway that its published client does not come with.

For the machines of users: needs dask-gateway and the standard library only. In
~/.config/dask/gateway.yaml:

    gateway:
      auth:
        type: dask_gateway_login.MungeAuth

`python -m dask_gateway_login URL` logs in with a browser, on this machine or any
other, and leaves a token where the client finds it; that needs nothing but Python.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dask_gateway_login.fresh_token import FreshTokenAuth
    from dask_gateway_login.munge import MungeAuth

__all__ = ["FreshTokenAuth", "MungeAuth"]


def __getattr__(name: str) -> Any:
    """The classes, which need dask-gateway, when they are asked for. Raises AttributeError for anything else."""
    if name == "MungeAuth":
        from dask_gateway_login.munge import MungeAuth

        return MungeAuth
    if name == "FreshTokenAuth":
        from dask_gateway_login.fresh_token import FreshTokenAuth

        return FreshTokenAuth
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
