"""The programs' cache: one folder outside the checkout, which every clone of the project shares.

`LAB_CACHE` names it; otherwise it is `twelve-factor` in the user's cache folder
(`XDG_CACHE_HOME`, or `~/.cache`: the XDG base directory specification).

    programs/consul-1.22.5-linux-amd64-release/{consul,record.json}
    versions.json       what was found out about programs on PATH: their versions, Vault's flavour
    go/                 the Go compiler, when the machine has none
    go-build/, go-mod/  what it compiled and fetched, when the machine's own folders cannot be used

A program is put there as a whole folder in one rename, so a half-made one is never seen.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from helpers.errors import LabError
from helpers.topology import LAB_DATA, description

RECIPES = LAB_DATA / "build"
_RECIPE_FILES = (".mod", ".sum", ".go")
_PROCESSORS = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class Record:
    """What `record.json` says of a program in the cache: written by whoever put it there."""

    name: str
    version: str
    flavour: str  # full, or trimmed: Vault compiled without the parts the lab does not use
    origin: str  # release or source
    size: int  # bytes; a file of another size is not what was installed


def root() -> Path:
    """Return the cache's folder; it need not exist. `LabError` when the user has no home."""
    chosen = os.environ.get("LAB_CACHE")
    if chosen:
        return Path(chosen).expanduser().resolve()
    if parent := os.environ.get("XDG_CACHE_HOME"):
        return Path(parent).expanduser().resolve() / "twelve-factor"
    try:
        return Path.home() / ".cache" / "twelve-factor"
    except RuntimeError as error:
        raise LabError("There is no home folder for the programs: set LAB_CACHE to a folder.") from error


def machine() -> str:
    """Return `linux-amd64` and the like, as Go and HashiCorp's archives name machines.

    Raises `LabError` on a system that the lab does not run on.
    """
    system, processor = platform.system().lower(), platform.machine().lower()
    if system not in ("linux", "darwin") or processor not in _PROCESSORS:
        raise LabError(
            f"The lab runs on Linux and macOS with an x86-64 or ARM64 processor, not on {system} {processor}."
        )
    return f"{system}-{_PROCESSORS[processor]}"


@cache
def recipe(name: str) -> str:
    """Return eight hexadecimal digits that change when the recipe to compile a program does."""
    digest = hashlib.sha256()
    for path in sorted(path for path in (RECIPES / name).rglob("*") if path.suffix in _RECIPE_FILES):
        digest.update(str(path.relative_to(RECIPES)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:8]


def pinned(name: str) -> str:
    """Return the version of `consul` or `vault` that `lab/topology.yaml` asks for."""
    version: str = description()["versions"][name]
    return version


def place(name: str, origin: str) -> Path:
    """Return the folder for a program from a `release`, or compiled from `source`."""
    suffix = origin if origin == "release" else f"{origin}-{recipe(name)}"
    return root() / "programs" / f"{name}-{pinned(name)}-{machine()}-{suffix}"


def read(folder: Path) -> Record | None:
    """Return the record of a program's folder, or None when the folder is missing or damaged."""
    try:
        record = Record(**json.loads((folder / "record.json").read_text()))
        program = (folder / record.name).stat()
    except (OSError, ValueError, TypeError):
        return None
    return record if program.st_size == record.size and program.st_mode & 0o100 else None


def write(folder: Path, record: Record) -> None:
    """Write a program's record into its folder, which nobody else uses yet."""
    with (folder / "record.json").open("w") as file:
        json.dump(asdict(record), file)
        file.flush()
        os.fsync(file.fileno())


def remembered(program: Path, question: str) -> str | None:
    """Return what was found out about this very file (its `version`, its `flavour`) before, if it was."""
    known: str | None = _versions().get(_fingerprint(program, question))
    return known


def remember(program: Path, question: str, answer: str) -> None:
    """Keep what was found out for the next time; a cache that cannot be written is no error.

    Not for what lies in the cache: its record has it all.
    """
    if root() in program.parents:
        return
    answers = _versions() | {_fingerprint(program, question): answer}
    try:
        root().mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=root(), prefix=".versions-")
        with os.fdopen(handle, "w") as file:
            json.dump(answers, file)
        Path(temporary).replace(root() / "versions.json")
    except OSError:
        return


def _versions() -> dict[str, str]:
    try:
        answers = json.loads((root() / "versions.json").read_text())
    except (OSError, ValueError):
        return {}
    return answers if isinstance(answers, dict) else {}


def _fingerprint(program: Path, question: str) -> str:
    status = program.stat()
    return f"{question}|{program}|{status.st_mtime_ns}|{status.st_size}"
