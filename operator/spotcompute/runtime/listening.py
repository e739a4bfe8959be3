"""Finds the address at which probes and scrapes reach this process, whatever family of addresses its cluster uses.

Apart from `health`, which answers there, because the metrics listen at the same address.
"""

from __future__ import annotations

import socket

#: Every address of this machine: of both families, and of IPv4 alone.
EVERY, EVERY_IPV4 = "::", "0.0.0.0"  # noqa: S104 - probes and scrapes come from outside the pod


def listen_address(host: str) -> str:
    """Returns the address to listen at for `host`, where `::` or nothing means every address of both families.

    A machine whose kernel has no IPv6 gets every IPv4 address instead.
    """
    if host not in ("", EVERY):
        return host
    return EVERY if socket.has_dualstack_ipv6() else EVERY_IPV4


def listen(host: str, port: int) -> socket.socket:
    """Returns a listening socket, of both families for `::`. Raises OSError when the port is taken.

    asyncio would open one for `::` that refuses IPv4, so the probes of a cluster with IPv4 would fail.
    """
    address = listen_address(host)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, dualstack_ipv6=address == EVERY)
