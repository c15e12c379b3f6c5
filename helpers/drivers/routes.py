"""Which of this machine's routes a network of the lab's own would collide with."""

from __future__ import annotations

from helpers.drivers.providers import run


def taken(network: str) -> list[str]:
    """Return the routes into `network` (such as `172.20.20.0/24`) and around it, as `ip` says them.

    The default route leads everywhere and is none of them.
    """
    inside = run("ip", "-o", "route", "show", "root", network).stdout.splitlines()
    around = run("ip", "-o", "route", "show", "match", network).stdout.splitlines()
    found = dict.fromkeys(line.strip() for line in inside + around)
    return [line for line in found if line and not line.startswith(("default", "0.0.0.0/"))]
