"""The administrator's socket: HTTP for root and the like on the gateway's host, and the commands that speak it.

The database belongs to the gateway that runs, so commands ask it. Nobody has a
password for that: the kernel says which account is at the other end.

May import: auth, config, proxy, web.
"""
