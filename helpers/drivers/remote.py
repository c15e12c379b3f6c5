"""Commands on a machine over one kept SSH connection: the first takes 0.3 s, the others 0.02 s.

`vagrant ssh -c` would take 3.5 s each time. The connection stays open on its own for five minutes.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from helpers.errors import LabError

KEPT = "300"  # seconds that an unused connection stays open
LOST = 255  # what ssh itself returns; a command's own codes are smaller


class UnreachableError(LabError):
    """A machine that does not answer."""


class Remote:
    """Runs shell scripts as root on machines, by name."""

    def __init__(self, sockets: Path, options: Callable[[str], list[str]]) -> None:
        """`sockets` is a short folder for connections; `options` gives ssh's own for a machine."""
        self._sockets = sockets
        self._options = options
        self._known: dict[str, list[str]] = {}

    def _ssh(self, node: str) -> list[str]:
        # A container that somebody started again may have another's old address: ask, unless connected.
        if node not in self._known or not (self._sockets / f"ssh-{node}").exists():
            try:
                self._known[node] = self._options(node)
            except LabError as error:
                raise UnreachableError(str(error)) from None
        settings = {
            "ControlMaster": "auto",
            "ControlPath": str(self._sockets / f"ssh-{node}"),
            "ControlPersist": KEPT,
            "BatchMode": "yes",
            "ConnectTimeout": "3",
            "ServerAliveInterval": "2",
            "ServerAliveCountMax": "2",
            "LogLevel": "ERROR",
        }
        words = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        return ["ssh", *words, *self._known[node], node]

    def run(self, node: str, script: str, timeout: float = 30.0) -> str:
        """Run a script as root and return what it prints.

        Raises `UnreachableError` when the machine does not answer within `timeout` seconds, and `LabError`
        with the script's last words when it fails.
        """
        try:
            done = subprocess.run(
                [*self._ssh(node), "sudo", "sh", "-s"],
                input=script,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            self.forget(node)
            raise UnreachableError(f"The machine {node} did not answer within {timeout:g} s.") from None
        if done.returncode == LOST:
            self.forget(node)
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise UnreachableError(f"The machine {node} does not answer ({reason}); `lab heal` starts it.")
        if done.returncode:
            reason = ((done.stderr or done.stdout).strip().splitlines() or ["no reason given"])[-1]
            raise LabError(f"A command on the machine {node} failed: {reason}.")
        return done.stdout

    def forget(self, node: str) -> None:
        """Close the connection to a machine that is going, or has gone: it would wait for an answer."""
        socket = self._sockets / f"ssh-{node}"
        if socket.exists():
            command = ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", node]
            subprocess.run(command, capture_output=True, timeout=10, check=False)
        self._known.pop(node, None)
