"""Whether the lab's addresses and ports are free, and who has them when they are not."""

from __future__ import annotations

import errno
import re
import socket
import sys
from collections.abc import Iterable

import psutil

from helpers.errors import LabError

LISTENERS = ("ss", "-Hltnp")  # iproute2's: a line a listening TCP socket, with its processes


def taken(addresses: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return the (address, port) pairs on which nothing can listen at the moment.

    Raises `LabError` when an address is not one of this machine's (macOS knows only 127.0.0.1).
    """
    found = []
    for address, port in addresses:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    raise LabError(_no_address(address)) from None
                found.append((address, port))
    return found


def _no_address(address: str) -> str:
    if sys.platform == "darwin":
        return (
            f"This machine has no address {address}; run `sudo ifconfig lo0 alias {address}` "
            f"for each address of the lab ({address.rpartition('.')[0]}.10 to .16)."
        )
    return f"This machine has no address {address}; `lab doctor` says what it lacks."


def owner(address: str, port: int) -> str:
    """Return who listens there, as words: `consul (process 123)`, or why that is unknown."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:  # macOS, without root
        return "another process (its owner must look)"
    for connection in connections:
        if connection.status != psutil.CONN_LISTEN or not connection.laddr:
            continue
        if connection.laddr.port == port and connection.laddr.ip in (address, "0.0.0.0", "::"):
            if connection.pid is None:
                return "a process of another user"
            try:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
            except psutil.NoSuchProcess:
                continue
    return "a process that this user may not see"


def listening(shown: str, pid: int) -> list[int]:
    """Return the ports on which a process listens, of what `LISTENERS` shows where it runs."""
    owned = [line.split()[3] for line in shown.splitlines() if re.search(rf"\bpid={pid}\b", line)]
    return sorted({int(address.rpartition(":")[2]) for address in owned})
