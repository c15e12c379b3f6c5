"""What runs inside a machine, and which process of this machine each of a container's is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import psutil

from helpers.drivers.remote import Remote, UnreachableError


def look(remote: Remote, node: str, programs: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Return process id and letter (of /proc's `State`) of each program that runs on a machine.

    A machine that does not answer shows none.
    """
    script = (
        f"for name in {' '.join(programs)}; do p=$(systemctl show -P MainPID lab-$name.service); "
        '[ ${p:-0} -gt 0 ] && sed -n "s/^State:[[:space:]]*\\(.\\).*/$name $p \\1/p" /proc/$p/status; '
        "done 2>/dev/null; exit 0"
    )
    try:
        said = [line.split() for line in remote.run(node, script).splitlines()]
    except UnreachableError:
        return {}
    return {name: (int(pid), letter) for name, pid, letter in said}


def here(first: int, wanted: set[int]) -> dict[int, int]:
    """Return the process id here of each wanted one in the process-id namespace of the process `first`."""
    found = {}
    with contextlib.suppress(OSError):
        space = Path(f"/proc/{first}/ns/pid").readlink()
        for process in psutil.pids():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{process}/ns/pid").readlink() != space:
                    continue
                status = Path(f"/proc/{process}/status").read_text()
                inner = int(status.split("NSpid:")[1].splitlines()[0].split()[-1])
                if inner in wanted:
                    found[inner] = process
    return found
