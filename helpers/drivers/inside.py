"""What runs inside a machine, and which process of this machine each of a container's is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

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


def here(processes: Iterable[int]) -> dict[int, int]:
    """Return which of these processes of this machine each process of one container is: inner id → id here.

    Empty where they run on a kernel of their own. The kernel tells anybody (`NSpid` in /proc/PID/status),
    while only root may look at a namespace.
    """
    found = {}
    for process in processes:
        with contextlib.suppress(OSError, IndexError):
            status = Path(f"/proc/{process}/status").read_text()
            ids = status.split("NSpid:")[1].splitlines()[0].split()
            if len(ids) > 1:  # one id alone is a process that lives in no container
                found[int(ids[-1])] = process
    return found
