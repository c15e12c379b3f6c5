"""What the operating system says about the lab's programs."""

from __future__ import annotations

import json
from pathlib import Path

import psutil

from helpers import owners
from helpers.schedule import Reading


class Processes:
    """What the operating system says about each program: running, stopped or gone.

    The process ids are in a file that the lab rewrites at each start (`"todo0:todo": 4711`).
    An id whose process is younger than the file belongs to somebody else by now: gone.
    """

    source = "process"
    vantage = "host"
    timeout = 1.0

    def __init__(self, targets: list[str], pids: Path) -> None:
        """Watch the programs `targets` (`NODE:PROGRAM`)."""
        self._targets = targets
        self._pids = pids
        self._read_at = -1
        self._processes: dict[str, psutil.Process] = {}

    def choose(self) -> str:
        """Return the machine: nothing to choose from."""
        return "host"

    async def ask(self, chosen: str) -> list[Reading]:
        """Look at every program; it takes microseconds and never waits."""
        try:
            self._reread()
        except (OSError, ValueError):
            return self.silence(chosen, "", "other")
        return [Reading(target, "process", self._state(target)) for target in self._targets]

    def silence(self, chosen: str, raw: str, error: str) -> list[Reading]:
        """Nothing is known about any program."""
        return [Reading(target, "process", raw, error) for target in self._targets]

    def _reread(self) -> None:
        changed = self._pids.stat().st_mtime_ns
        if changed == self._read_at:
            return
        processes = {}
        for target, pid in json.loads(self._pids.read_text()).items():
            try:
                process = psutil.Process(pid)
                # not a younger one that was given the same id; a clock that was set makes both look younger
                if process.create_time() <= changed / 1e9 + owners.CLOCK:
                    processes[target] = process
            except psutil.Error:
                continue
        self._processes, self._read_at = processes, changed

    def _state(self, target: str) -> str:
        process = self._processes.get(target)
        if process is None:
            return "gone"
        try:
            status = process.status()
        except psutil.Error:
            status = psutil.STATUS_DEAD
        if status in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            del self._processes[target]
            return "gone"
        if status in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP):
            return "stopped"
        return "running"
