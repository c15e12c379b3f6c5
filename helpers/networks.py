"""Which loopback network a local lab has: 127.20.20, or the next one that no other lab has claimed.

A claim is a file in the user's own temporary folder that names a lab's home; it holds as long as that
home is a lab's. It is kept while the lab is down, so that addresses do not change from day to day.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import urllib.request
from pathlib import Path

from helpers.errors import LabError
from helpers.home import Home, write_private
from helpers.topology import description

LAST = 254


def claims_folder() -> Path:
    """Return the folder of claims, made for this user alone."""
    folder = Path(tempfile.gettempdir()) / f"lab-networks-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise LabError(f"{folder} belongs to somebody else; set TMPDIR to a folder of your own.")
    return folder


def candidates(first: str) -> list[str]:
    """Return the networks to try, in order: `127.20.20`, `127.20.21`, … `127.20.254`."""
    prefix, _, octet = first.rpartition(".")
    return [f"{prefix}.{number}" for number in range(int(octet), LAST + 1)]


def holder(network: str) -> Path | None:
    """Return the home of the lab that has claimed a network, or None when it is free."""
    try:
        home = Path((claims_folder() / network).read_text())
    except FileNotFoundError:
        return None
    return home if Home(home).exists else None


def claim(home: Home) -> str:
    """Claim the first free network for a lab, or return the one it has.

    Raises `LabError` when all are taken.
    """
    networks = candidates(description()["networks"]["local"])
    # Two labs that are started at the same moment must not both find the same network free.
    lock = os.open(claims_folder(), os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for network in networks:
            if holder(network) == home.path:
                return network
        for network in networks:
            if holder(network) is None:
                write_private(claims_folder() / network, str(home.path))
                return network
    finally:
        os.close(lock)
    raise LabError(f"All networks up to {networks[-1]} are claimed by labs; purge one of them.")


def release(home: Home) -> None:
    """Give a lab's network back."""
    for network in claims_folder().iterdir():
        if network.read_text() == str(home.path):
            network.unlink(missing_ok=True)


def past_proxies(network: str) -> None:
    """Let this process, and what it starts, ask the lab's own addresses without the reader's HTTP proxy.

    `NO_PROXY` with a network is understood by requests and by Go's programs. Without a proxy nothing changes.
    """
    if not {"http", "https", "all"} & set(urllib.request.getproxies()):
        return
    place = f"{network}.0/24"
    for name in ("no_proxy", "NO_PROXY"):
        known = os.environ.get(name, "")
        if place not in known.split(","):
            os.environ[name] = f"{known},{place}".lstrip(",")
