"""What runs inside a machine, and which process of this machine each of a container's is."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterable
from pathlib import Path

from helpers.drivers import Process, ports
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


def process(remote: Remote, node: str, pid: int) -> Process:
    """Return what a machine's kernel knows of one of its processes (proc_pid_environ(5)).

    Raises `LabError` when there is no such process, and `UnreachableError` when the machine is silent.
    """
    files = f"for file in cmdline environ; do base64 -w 0 /proc/{pid}/$file || exit 1; echo; done"
    said = remote.run(node, f"{files}; {' '.join(ports.LISTENERS)}")
    first, second, listeners = said.split("\n", 2)
    command, environment = (_words(coded) for coded in (first, second))
    pairs = (word.partition("=") for word in environment)
    variables = {name: value for name, _, value in pairs}
    return Process(pid, command, variables, ports.listening(listeners, pid))


def _words(coded: str) -> list[str]:
    """Return the words of a file of /proc that ends each with a zero, and may hold line ends."""
    return base64.b64decode(coded).decode(errors="replace").rstrip("\0").split("\0")


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
