"""Processes of a lab whose supervisor died: found by three marks, ended by pid.

supervisord never adopts them (supervisor issues 199, 892), and they hold the ports.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "TWELVE_FACTOR_LAB"
SERVERS = ("consul", "vault", "mariadbd", "mysqld")
_PF_EXITING = 0x4  # linux/sched.h; the flags are the ninth field of /proc/<pid>/stat, see proc_pid_stat(5)


@dataclass(frozen=True)
class Stray:
    """A process that bears the lab's mark but belongs to no living supervisor of it."""

    pid: int
    command: str


def belongs(environment: dict[str, str], command: list[str], home: Path) -> bool:
    """Say whether a process is this lab's: its environment bears the mark, or it is a server in the folder.

    The command line is for the server that makes the database: it is started by hand, not by the supervisor.
    A pager or an editor on a file of the lab is the reader's own.
    """
    if MARK in environment:
        return environment[MARK] == str(home)
    if not command or Path(command[0]).name not in SERVERS:
        return False
    return any(part.startswith(f"{home}/nodes/") or f"={home}/nodes/" in part for part in command)


def find(home: Path, supervisor: int | None = None) -> list[Stray]:
    """Return the lab's processes that are not children of `supervisor` (its pid, if it lives)."""
    strays = []
    for process in psutil.process_iter():
        try:
            if process.pid in (os.getpid(), supervisor):
                continue
            if process.uids().real != os.getuid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            command = process.cmdline()
            if not belongs(process.environ(), command, home):
                continue
            # Not the living supervisor's, and not what this very command has started (a bootstrap).
            if {supervisor, os.getpid()} & {parent.pid for parent in process.parents()}:
                continue
            strays.append(Stray(process.pid, " ".join(command[:2])))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return strays


def end(strays: list[Stray], patience: float = 3.0) -> None:
    """End processes: CONT and TERM, then KILL what is left after `patience` seconds."""
    processes = []
    for stray in strays:
        try:
            process = psutil.Process(stray.pid)
            process.resume()
            process.terminate()
            processes.append(process)
        except psutil.NoSuchProcess:
            continue
    _, left = psutil.wait_procs(processes, timeout=patience)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=patience)


def exiting(stat: str) -> bool:
    """Say of a line of /proc/<pid>/stat whether the kernel is still taking that process apart.

    Its memory goes first, and with it the mark; its ports, locks and namespaces go after that. The first
    thread may be a zombie already while others, which hold all that, are not at their end.
    """
    fields = stat.rpartition(")")[2].split()  # from the third on: the second, the name, may hold anything
    state, flags, threads = fields[0], int(fields[6]), int(fields[17])
    return bool(flags & _PF_EXITING) and (state != "Z" or threads > 1)


def outlast_exiting(patience: float = 10.0) -> None:
    """Wait, for `patience` seconds at most, until no killed process of this user is still exiting (Linux).

    Which of them was a lab's nobody can say any more, so all are waited for; that is milliseconds.
    """
    deadline = time.monotonic() + patience
    while any(_exiting_now(pid) for pid in psutil.pids()) and time.monotonic() < deadline:
        time.sleep(0.02)


def _exiting_now(pid: int) -> bool:
    folder = Path(f"/proc/{pid}")
    try:
        return folder.stat().st_uid == os.getuid() and exiting((folder / "stat").read_text())
    except OSError:  # gone meanwhile, or not Linux
        return False
