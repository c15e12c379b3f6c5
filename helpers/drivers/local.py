"""The default driver: processes of the reader's own user on loopback addresses.

One supervisord per lab, in a session of its own, so that it outlives kernels and terminals: Jupyter
signals the kernel's whole process group. A group of supervisor's is a node; nothing restarts by itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal as signals
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import psutil
from supervisor.xmlrpc import Faults, SupervisorTransport

from helpers.drivers import Process, Say, Signal, ports, strays
from helpers.errors import LabError
from helpers.home import Home, write_private
from helpers.programs import find
from helpers.render import render
from helpers.topology import Target, Topology
from helpers.waiting import until

_PIDS = threading.Lock()  # two deployments side by side write the same file
RECORDER = Target("lab", "recorder")  # not a node: the notebook's own recording, see helpers/recording.py


def _name(target: Target) -> str:
    """supervisor's name for a program: group and process."""
    return f"{target.node}:{target.node}_{target.program}"


def _quoted(text: str | Path) -> str:
    """Quote a word for supervisor's `command`: shell rules, and % is its own escape."""
    return shlex.quote(str(text)).replace("%", "%%")


class LocalDriver:
    """Six nodes as groups of processes under one supervisord."""

    name = "local"
    capabilities: frozenset[str] = frozenset()
    sees_processes: bool = True
    as_root: bool = False

    def __init__(self, home: Home, topology: Topology) -> None:
        self.home = home
        self.topology = topology

    # ---- supervisord itself -------------------------------------------------------------

    @property
    def _socket(self) -> Path:
        return self.home.runtime / "supervisor.sock"

    @property
    def _pid_file(self) -> Path:
        return self.home.runtime / "supervisord.pid"

    def _rpc(self) -> Any:
        """A fresh proxy per call: the transport is one connection and not for several threads."""
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        return ServerProxy("http://lab", transport=transport).supervisor

    @property
    def supervisor(self) -> int | None:
        """supervisord's pid when it lives and answers, else None."""
        try:
            pid: int = self._rpc().getPID()
        except (OSError, Fault):
            return None
        return pid

    @property
    def alive(self) -> bool:
        """Whether supervisord answers."""
        return self.supervisor is not None

    def strays(self) -> list[strays.Stray]:
        """Return the processes that a dead supervisord left behind."""
        return strays.find(self.home.path, self.supervisor)

    def clear_strays(self, say: Say) -> None:
        """End what a dead supervisord left behind, and say so; let what was killed come to its end."""
        if found := self.strays():
            say(
                f"found {len(found)} processes of a lab whose supervisor is gone "
                f"(first: {found[0].command}, process {found[0].pid}); ending them"
            )
            strays.end(found)
        strays.outlast_exiting()

    def up(self, say: Say) -> None:
        """Start supervisord unless it answers; clear what a dead one left; refuse taken ports."""
        if self.alive:
            return
        self.clear_strays(say)
        self._refuse_taken_ports()
        configuration = self._configure()
        # supervisord detaches from this terminal and process group by itself.
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)],
            env={**os.environ, strays.MARK: str(self.home.path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            start_new_session=True,
            umask=0o077,  # its own `umask` comes after it has made its log
            check=False,
        )
        if done.returncode:
            reason = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
            raise LabError(f"The lab's supervisor did not start: {reason[-1]}.")
        until(lambda: self.alive, "An answer of the lab's supervisor", at_most=10, every=0.02)

    def _refuse_taken_ports(self) -> None:
        wanted = [
            pair
            for target in self.topology.programs()
            if not self.topology[target.node].spare
            for pair in self.topology.listening(target)
        ]
        for address, port in ports.taken(wanted):
            raise LabError(
                f"Port {port} of {address} is taken by {ports.owner(address, port)}; "
                "end it, or set LAB_HOME to another folder for a lab on other addresses."
            )

    def _configure(self) -> Path:
        """Write supervisord's configuration: all programs of all nodes, spares too, and the recorder."""
        programs = []
        groups: dict[str, list[str]] = {}
        for target, command, folder, log in self._programs():
            name = f"{target.node}_{target.program}"
            groups.setdefault(target.node, []).append(name)
            programs.append(
                {
                    "name": name,
                    "command": command,
                    "folder": str(folder).replace("%", "%%"),
                    "log": str(log).replace("%", "%%"),
                }
            )
        text = render(
            "local/supervisord.conf.j2",
            self.topology,
            socket=self._socket,
            pid_file=self._pid_file,
            logs=str(self.home.folder("logs")).replace("%", "%%"),
            home=str(self.home.path).replace("%", "%%"),
            mark=strays.MARK,
            programs=programs,
            groups=groups,
        )
        file = self.home.path / "supervisord.conf"
        write_private(file, text)
        return file

    def _programs(self) -> Iterator[tuple[Target, str, Path, Path]]:
        for target in self.topology.programs():
            folder = self.home.node_folder(target.node, target.program)
            log = self.home.log(target.node, target.program)
            yield target, self._command(target, folder), folder, log
        yield (
            RECORDER,
            f"{_quoted(sys.executable)} -m helpers.recorder {_quoted(self.home.path / 'recorder-spec.json')}",
            self.home.path,
            self.home.folder("logs") / "recorder.log",
        )

    def _command(self, target: Target, folder: Path) -> str:
        """The program itself, never a shell that stays: supervisor signals only the first process."""
        match target.program:
            case "agent":
                return f"{_quoted(find('consul').path)} agent -config-file={_quoted(folder / 'agent.hcl')}"
            case "vault":
                return f"{_quoted(find('vault').path)} server -config={_quoted(folder / 'vault.hcl')}"
            case "mariadb":
                return f"{_quoted(find('mariadb').path)} --defaults-file={_quoted(folder / 'server.cnf')}"
            case _:
                # The shell reads the environment and becomes the service: exec keeps the process.
                script = (
                    f"set -a && . {shlex.quote(str(folder / 'todo.env'))} && "
                    f"exec {shlex.quote(sys.executable)} -m todo"
                )
                return f"/bin/sh -c {_quoted(script)}"

    # ---- programs -----------------------------------------------------------------------

    def start(self, targets: Iterable[Target]) -> None:
        """Start programs side by side; wake paused ones."""
        for target in targets:
            with contextlib.suppress(psutil.NoSuchProcess):
                self.signal(target, "CONT")
            self._check_free(target)
            try:
                self._rpc().startProcess(_name(target), False)
            except Fault as fault:
                if fault.faultCode != Faults.ALREADY_STARTED:
                    raise LabError(
                        f"{target} does not start ({fault.faultString}); see `lab logs {target}`."
                    ) from None
        self._write_pids()

    def _check_free(self, target: Target) -> None:
        if target.node == RECORDER.node or self.pid(target) is not None:
            return
        for address, port in ports.taken(self.topology.listening(target)):
            raise LabError(
                f"{target} cannot start: port {port} of {address} is taken by "
                f"{ports.owner(address, port)}; end it first."
            )

    def stop(self, targets: Iterable[Target]) -> None:
        """Send TERM side by side and wait; KILL after 15 s (`stopwaitsecs`)."""
        wanted = list(targets)
        for target in wanted:
            self.signal(target, "CONT")  # a stopped process never sees TERM
        with ThreadPoolExecutor(max(1, len(wanted))) as pool:
            list(pool.map(self._stop_one, wanted))

    def _stop_one(self, target: Target) -> None:
        try:
            self._rpc().stopProcess(_name(target), True)
        except Fault as fault:
            if fault.faultCode != Faults.NOT_RUNNING:
                raise

    def signal(self, target: Target, signal: Signal) -> None:
        """Send a signal straight to the process: supervisor's own way takes up to a second to notice."""
        pid = self.pid(target)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, getattr(signals, f"SIG{signal}"))
            if signal == "KILL":
                self._wait_gone(target, pid)

    def _wait_gone(self, target: Target, pid: int) -> None:
        """Wait until supervisord has reaped the process, so that the next start does not refuse."""
        until(
            lambda: self.pid(target) != pid,
            f"The end of {target} (process {pid})",
            at_most=10,
            every=0.01,
        )

    def pid(self, target: Target) -> int | None:
        """Return the program's process id, or None."""
        try:
            info = self._rpc().getProcessInfo(_name(target))
        except (OSError, Fault):  # gone, or just going
            return None
        pid: int = info["pid"]
        return pid if pid and psutil.pid_exists(pid) else None

    def process(self, target: Target) -> Process:
        """Return what the operating system knows of a running program.

        Raises `LabError` when it does not run.
        """
        try:
            if (pid := self.pid(target)) is not None:
                found = psutil.Process(pid)
                return Process(pid, found.cmdline(), found.environ(), self._listening(target, found))
        except psutil.NoSuchProcess:  # it has just ended
            pass
        raise LabError(f"{target} does not run.")

    def _listening(self, target: Target, process: psutil.Process) -> list[int]:
        connections = process.net_connections("tcp")
        return sorted({each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN})

    def state(self, target: Target) -> str:
        """Return `running`, `paused` or `stopped`, as the operating system sees the process."""
        pid = self.pid(target)
        if pid is None:
            return "stopped"
        try:
            status = psutil.Process(pid).status()
        except psutil.NoSuchProcess:
            return "stopped"
        if status == psutil.STATUS_ZOMBIE:
            return "stopped"
        return "paused" if status == psutil.STATUS_STOPPED else "running"

    def _write_pids(self) -> None:
        """Tell the recorder which process is which; it looks again when the file changes."""
        with _PIDS:
            infos = self._rpc().getAllProcessInfo()
            pids = {
                f"{info['group']}:{info['name'].removeprefix(info['group'] + '_')}": info["pid"]
                for info in infos
                if info["pid"]
            }
            write_private(self.home.path / "pids.json", json.dumps(pids))

    # ---- the network: one for all nodes, so nothing can be cut ------------------------------

    def cut(self, node: str, peers: list[str], percent: int = 100, deaf: bool = False) -> None:
        """Refuse: loopback addresses share one network."""
        raise LabError("The local driver cannot cut a node off; LAB_DRIVER=netns can (Linux, root).")

    def unplug(self, node: str) -> None:
        """Refuse: loopback addresses share one network."""
        raise LabError("The local driver cannot unplug a node; LAB_DRIVER=netns can (Linux, root).")

    def delay(self, node: str, milliseconds: int) -> None:
        """Refuse: loopback addresses share one network."""
        raise LabError("The local driver cannot delay packets; LAB_DRIVER=netns can (Linux, root, netem).")

    def mend(self, node: str) -> None:
        """Do nothing: there is nothing to mend."""

    def power_off(self, node: str) -> None:
        """Refuse: the nodes are processes of one machine."""
        raise LabError("Only LAB_DRIVER=vagrant has machines with a power of their own.")

    def suspend(self, node: str) -> None:
        """Refuse: the nodes are processes of one machine."""
        raise LabError("Only LAB_DRIVER=vagrant has machines that can be suspended.")

    # ---- the end ------------------------------------------------------------------------

    def clear(self, say: Say) -> None:
        """End everything: what a start of it all costs is a second."""
        self.down(say)

    def down(self, say: Say) -> None:
        """Stop every program in order of need, then supervisord; end strays too."""
        pid = self.supervisor
        if pid is not None:
            everything = [*self.topology.programs(), RECORDER]
            running = [t for t in everything if self.pid(t) is not None]
            for kinds in (("recorder", "todo"), ("vault", "mariadb")):
                self.stop([t for t in running if t.program in kinds])
            # An agent that is asked to end leaves the cluster first, which takes eight seconds
            # (leave_drain_time 5 s and propagation 3 s); here the cluster ends with it.
            agents = [t for t in running if t.program == "agent"]
            for target in agents:
                if not self.topology[target.node].server:
                    self.signal(target, "KILL")
            self.stop(t for t in agents if self.topology[t.node].server)
            with contextlib.suppress(OSError, Fault):
                self._rpc().shutdown()
            deadline = time.monotonic() + 10
            while psutil.pid_exists(pid) and time.monotonic() < deadline:
                time.sleep(0.02)
        self.clear_strays(say)
