"""Which peers are proxies of our own, whose word on their clients is taken (pure)."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache


class Trust:
    """A set of addresses and networks; `unix` stands for peers on a Unix socket. Raises `ValueError` for others."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self._unix = "unix" in trusted
        self._networks = [ipaddress.ip_network(text) for text in trusted if text != "unix"]
        self._check = lru_cache(maxsize=1024)(self._contains)

    def __contains__(self, address: str) -> bool:
        if not self._networks:
            return self._unix and address == "unix"
        return self._check(address)

    def _contains(self, address: str) -> bool:
        if address == "unix":
            return self._unix
        number = ipaddress.ip_address(address)
        return any(number in network for network in self._networks)
