"""Processes of a lab whose supervisor died: found by three marks, ended by pid.

supervisord never adopts them (supervisor issues 199, 892), and they hold the ports.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "TWELVE_FACTOR_LAB"
SERVERS = ("consul", "vault", "mariadbd", "mysqld")


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
