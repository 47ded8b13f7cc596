"""Ways to log in to a Dask gateway that its published client does not come with.

For the machines of users: needs dask-gateway and the standard library only. In
~/.config/dask/gateway.yaml:

    gateway:
      auth:
        type: dask_gateway_login.MungeAuth
"""

from dask_gateway_login.munge import MungeAuth

__all__ = ["MungeAuth"]
