"""Which process something of the lab belongs to, so that what a dead one left is told from a living one's."""

from __future__ import annotations

import os
from typing import Any

import psutil

#: Seconds by which a process's start may look different later: its clock is the machine's, which is set.
CLOCK = 30.0


def this() -> dict[str, Any]:
    """Return this process's mark."""
    return of(os.getpid())


def of(pid: int) -> dict[str, Any]:
    """Return a process's mark: its id, and when it started, since ids are given anew."""
    return {"pid": pid, "since": psutil.Process(pid).create_time()}


def lives(owner: object) -> bool:
    """Say whether the process of a mark still runs; nobody (None) does not."""
    if not isinstance(owner, dict):
        return False
    try:
        return abs(psutil.Process(owner["pid"]).create_time() - owner["since"]) < CLOCK
    except psutil.NoSuchProcess:
        return False


def is_this(owner: dict[str, Any] | None) -> bool:
    """Say whether a mark is this process's."""
    return owner is not None and owner["pid"] == os.getpid() and lives(owner)
