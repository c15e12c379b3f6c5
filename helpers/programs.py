"""Where the lab's programs are: Consul, Vault and a MySQL server.

`find` only looks: on PATH first (the version is checked), then in the cache. What is missing is
installed by `make setup` or `lab doctor --fix` (`helpers/install.py`).
"""

from __future__ import annotations

import mmap
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers import cache
from helpers.errors import LabError

NAMES = ("consul", "vault", "mariadb")
REMEDY = "`make setup` or `lab doctor --fix` installs it"

_TITLES = {"consul": "Consul", "vault": "Vault", "mariadb": "A MariaDB or MySQL server"}
_BANNER = {
    "consul": re.compile(r"^Consul v(\d+\.\d+\.\d+)(\S*)", re.M),
    "vault": re.compile(r"^Vault v(\d+\.\d+\.\d+)(\S*?),? ", re.M),
    "mariadb": re.compile(r"Ver (\d+\.\d+\.\d+)"),
}
# The oldest servers that the lab was tried with: MariaDB of Debian 12, and MySQL's long-term version.
_OLDEST = {"mariadb": (10, 11), "mysql": (8, 4)}
# Servers are often outside of an ordinary user's PATH.
_SERVER_FOLDERS = (
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/libexec",
    "/opt/homebrew/opt/mariadb/bin",
    "/opt/homebrew/opt/mysql/bin",
    "/usr/local/opt/mariadb/bin",
    "/usr/local/opt/mysql/bin",
)
_PATIENCE = 20.0  # seconds for a program to say its version: a cold disk reads 360 MB of it first


@dataclass(frozen=True)
class Program:
    """A program that the lab can run."""

    name: str  # consul, vault or mariadb
    path: Path
    version: str
    flavour: str  # full or trimmed; of the database server: mariadb or mysql
    origin: str  # PATH, release (downloaded) or source (compiled)
    initializer: Path | None = None  # mariadb-install-db, if the server has one


@dataclass(frozen=True)
class Unfit:
    """A program of the right name that the lab cannot use, and why."""

    path: Path
    reason: str


def find(name: str) -> Program:
    """Return a program by its name: `consul`, `vault` or `mariadb` (which a MySQL server may be).

    Raises `LabError` with the remedy when there is none that fits.
    """
    unfit: list[Unfit] = []
    for candidate in (*_on_path(name), *_in_cache(name)):
        if isinstance(candidate, Program):
            return candidate
        unfit.append(candidate)
    seen = "".join(f" ({item.path} {item.reason})" for item in unfit[:1])
    raise LabError(f"{title(name)} is missing{seen}; {REMEDY}.")


def title(name: str) -> str:
    """Return what a reader calls a program, with the version the lab asks for: `Consul 1.22.5`."""
    return _TITLES[name] if name == "mariadb" else f"{_TITLES[name]} {cache.pinned(name)}"


def ask(program: Path) -> str:
    """Return what a program prints when asked for its version; empty when it does not answer.

    The answer is kept with the file's size and time, as asking takes up to a second.
    """
    try:
        if (known := cache.remembered(program, "version")) is not None:
            return known
        option = "--version" if program.name.endswith("d") else "version"
        done = subprocess.run(
            [program, option],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""  # not remembered: it may answer the next time
    cache.remember(program, "version", done.stdout)
    return done.stdout


def inspect(name: str, path: Path, origin: str = "PATH") -> Program | Unfit:
    """Return what a file is: a program that the lab can use, or why it cannot."""
    answer = ask(path)
    found = _BANNER[name].search(answer)
    if found is None:
        return Unfit(path, "does not say its version")
    version = found[1]
    if name == "mariadb":
        return _inspect_server(path, version, answer)
    if "+ent" in found[2]:
        return Unfit(path, f"is {version}{found[2]}, which asks for a licence")
    if not _fits(version, cache.pinned(name)):
        return Unfit(path, f"is {version}; the lab needs {cache.pinned(name)} or a later one of its series")
    return Program(name, path, version, flavour(name, path), origin)


def flavour(name: str, path: Path) -> str:
    """Return `trimmed` for a Vault built with the tag `minimal`, `full` for any other program.

    Go writes a program's build settings into it as text (`go help buildinfo`: `go version -m`
    shows them), which needs no Go to be read.
    """
    if name != "vault":
        return "full"
    if (known := cache.remembered(path, "flavour")) is not None:
        return known
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(b"build\t-tags=")
        tags = content[start : start + 200].split(b"\n")[0] if start >= 0 else b""
    cache.remember(path, "flavour", found := "trimmed" if b"minimal" in tags else "full")
    return found


def _inspect_server(path: Path, version: str, answer: str) -> Program | Unfit:
    kind = "mariadb" if "MariaDB" in answer else "mysql"
    oldest = _OLDEST[kind]
    if _numbers(version)[:2] < oldest:
        return Unfit(path, f"is {version}; the lab needs {'.'.join(map(str, oldest))} or later")
    folders = [path.resolve().parent, path.resolve().parent.parent / "bin", *_search_path()]
    places = [folder / tool for folder in folders for tool in ("mariadb-install-db", "mysql_install_db")]
    initializer = next((place for place in places if os.access(place, os.X_OK)), None)
    return Program("mariadb", path, version, kind, "PATH", initializer if kind == "mariadb" else None)


def _fits(version: str, wanted: str) -> bool:
    """Whether a version is of the wanted series (1.22.x) and not older than the wanted one."""
    have, want = _numbers(version), _numbers(wanted)
    return have[:2] == want[:2] and have >= want


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _search_path() -> list[Path]:
    return [Path(folder) for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if folder]


def _on_path(name: str) -> Iterator[Program | Unfit]:
    folders, names = _search_path(), [name]
    if name == "mariadb":
        folders += [Path(folder) for folder in _SERVER_FOLDERS]
        names = ["mariadbd", "mysqld"]
    for program in names:
        for folder in dict.fromkeys(folders):
            path = folder / program
            if path.is_file() and os.access(path, os.X_OK):
                yield inspect(name, path)


def _in_cache(name: str) -> Iterator[Program | Unfit]:
    if name == "mariadb":
        return
    for origin in ("release", "source"):
        folder = cache.place(name, origin)
        if record := cache.read(folder):
            yield Program(name, folder / name, record.version, record.flavour, record.origin)
