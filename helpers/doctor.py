"""What the lab needs of this machine, and whether it is there.

`diagnose` looks and changes nothing; `fix` installs what is missing.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import psutil
from packaging.requirements import InvalidRequirement, Requirement
from rich.table import Table

from helpers import bootstrap, debian, install, programs
from helpers.drivers import host, netns, providers
from helpers.errors import LabError
from helpers.home import Home
from helpers.progress import Say
from helpers.topology import Topology, load

State = Literal["fine", "note", "missing"]

# Bytes. Six agents, two Vaults, the database, two services and a notebook's kernel, with some room.
_MEMORY = 1_500_000_000
# Bytes in the lab's folder: the servers' data, logs, and a few runs.
_DISK = 500_000_000
_MARKS = {"fine": "[green]✓ fine", "note": "[yellow]! note", "missing": "[red]✗ missing"}


@dataclass(frozen=True)
class Finding:
    """One thing that the lab needs: how it is, and what to do when it is not there."""

    subject: str
    state: State  # note: the lab may run all the same
    says: str
    remedy: str = ""
    program: str = ""  # what `fix` installs: a program's name, or `packages`

    @property
    def ok(self) -> bool:
        """Whether the lab can run with it as it is."""
        return self.state != "missing"

    def as_dict(self) -> dict[str, Any]:
        """Return the finding for `lab doctor --json`."""
        return asdict(self)


def diagnose() -> list[Finding]:
    """Return everything the lab needs of this machine; takes about a second, changes nothing."""
    return [
        _python(),
        _packages(locked_versions(bootstrap.LOCK.read_text())),
        *(_program(name) for name in programs.NAMES),
        *(_driver_tool(*tool) for tool in driver_tools()),
        _addresses(load()),
        _memory(),
        _disk(Home.locate().path),
    ]


def fix(findings: Iterable[Finding], say: Say) -> None:
    """Install what is missing and say what only the reader can do. Nothing stops at the first failure."""
    for finding in findings:
        if finding.ok:
            continue
        try:
            if finding.program == "packages":
                _install_packages()
            elif finding.program in dict(driver_tools()).values():
                otherwise = f"ask an administrator for `apt-get install {finding.program}`"
                debian.install(finding.program, finding.subject, otherwise, say)
            elif finding.program:
                program = install.install(finding.program, say)
                say(f"✓ {program.name} {program.version}, {install.describe(program)}")
            else:
                say(f"{finding.subject}: {finding.remedy}")
        except LabError as error:
            say(str(error))


def table(findings: Iterable[Finding]) -> Table:
    """Return the findings as a table for people."""
    drawn = Table("", "needed", "found", "what to do", box=None, pad_edge=False)
    for finding in findings:
        drawn.add_row(_MARKS[finding.state], finding.subject, finding.says, finding.remedy)
    return drawn


def locked_versions(lock: str) -> dict[str, str]:
    """Return the version of each package that a lock asks for on this Python and system."""
    found: dict[str, str] = {}
    for line in lock.splitlines():
        try:
            wanted = Requirement(line.rstrip("\\ ")) if re.match(r"[a-zA-Z0-9]", line) else None
        except InvalidRequirement:
            continue
        if wanted and (wanted.marker is None or wanted.marker.evaluate()):
            found[wanted.name] = str(wanted.specifier).removeprefix("==")
    return found


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    where = ".venv" if Path(sys.prefix) == bootstrap.ENVIRONMENT else sys.prefix
    if sys.version_info < bootstrap.OLDEST:
        return Finding("Python", "missing", version, "install Python 3.11 or later, then `make setup`")
    return Finding("Python", "fine", f"{version} in {where}")


def _packages(wanted: dict[str, str]) -> Finding:
    missing, other = [], []
    for name, version in wanted.items():
        try:
            if metadata.version(name) != version:
                other.append(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        names = ", ".join(missing[:3]) + (" and others" if len(missing) > 3 else "")
        return Finding("packages", "missing", f"{names} not installed", "make setup", "packages")
    if other:
        names = ", ".join(other[:3]) + (f" and {len(other) - 3} more" if len(other) > 3 else "")
        return Finding(
            "packages", "note", f"not the locked version: {names}", "`make setup` installs the lock"
        )
    return Finding("packages", "fine", f"{len(wanted)} as in requirements.lock")


def _program(name: str) -> Finding:
    subject = {"consul": "Consul", "vault": "Vault", "mariadb": "MariaDB or MySQL"}[name]
    try:
        program = programs.find(name)
    except LabError as error:
        says = str(error).partition(";")[0].removesuffix(".")
        return Finding(subject, "missing", says, "`lab doctor --fix` installs it", name)
    return Finding(subject, "fine", f"{program.version}, {install.describe(program)}")


def driver_tools() -> tuple[tuple[str, str], ...]:
    """Return the programs that the chosen driver calls, each with Debian's package; none for `local`.

    Docker is asked for only where `VAGRANT_DEFAULT_PROVIDER` names it: Vagrant may have another provider.
    Raises `LabError` for a driver that there is not.
    """
    from helpers.lab import DRIVERS

    driver = os.environ.get("LAB_DRIVER") or "local"
    if driver not in DRIVERS:
        raise LabError(f"LAB_DRIVER is {driver!r}; the drivers are {', '.join(DRIVERS)}.")
    if driver == "netns":
        return netns.TOOLS
    if driver == "vagrant":
        if os.environ.get("VAGRANT_DEFAULT_PROVIDER") != providers.Docker.name:
            return host.TOOLS
        # A client alone, such as one for a remote daemon, is no Docker here unless its daemon answers.
        daemon = () if providers.Docker(Path()).usable() else (("dockerd", "docker.io"),)
        return host.TOOLS + providers.Docker.tools + daemon
    return ()


def _driver_tool(tool: str, package: str) -> Finding:
    subject = f"`{tool}`, for the {os.environ['LAB_DRIVER']} driver"
    if (path := shutil.which(tool)) is None:
        return Finding(subject, "missing", "not on PATH", "`lab doctor --fix` installs it", package)
    return Finding(subject, "fine", path)


def _addresses(topology: Topology) -> Finding:
    subject, lacking = "loopback addresses", []
    for node in topology.nodes.values():
        with socket.socket() as probe:
            try:
                probe.bind((node.address, 0))
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    lacking.append(node.address)
    if not lacking:
        return Finding(subject, "fine", f"{topology.network}.x can be used")
    if sys.platform == "darwin":
        remedy = "; ".join(f"sudo ifconfig lo0 alias {address}" for address in lacking)
    else:
        remedy = "bring the loopback interface up: `sudo ip link set lo up`"
    return Finding(subject, "missing", f"{', '.join(lacking)} cannot be used", remedy)


def _memory() -> Finding:
    free = psutil.virtual_memory().available
    if free < _MEMORY:
        return Finding(
            "memory", "note", f"{free / 1e9:.1f} GB free", "close something: the lab takes about 1.5 GB"
        )
    return Finding("memory", "fine", f"{free / 1e9:.1f} GB free")


def _disk(home: Path) -> Finding:
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if free < _DISK:
        remedy = "make room, or set LAB_HOME to a folder on another disk"
        return Finding("disk", "missing", f"{free / 1e9:.1f} GB free at {place}", remedy)
    return Finding("disk", "fine", f"{free / 1e9:.1f} GB free")


def _install_packages() -> None:
    if Path(sys.prefix) != bootstrap.ENVIRONMENT:
        raise LabError("This is not the project's .venv: run `pip install -e .` here, or `make setup`.")
    bootstrap.STAMP.unlink(missing_ok=True)
    if subprocess.call([sys.executable, bootstrap.__file__, "--packages"]):
        raise LabError("The packages could not be installed; `make setup` says why.")
