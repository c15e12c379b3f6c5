"""The second half of `make setup`: the programs that are missing, installed one after the other.

Consul and Vault go into the cache: from HashiCorp's release archive, or compiled. Whatever
happens meanwhile (an interrupt, a full disk, a second set-up), the cache holds whole programs only:
each is made in a folder of its own beside the others and put in its place by one rename.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from helpers import cache, debian, gobuild, programs, release
from helpers.errors import LabError
from helpers.progress import Say, clock, say

_UNFINISHED = ".unfinished-"


def install(name: str, say: Say = say) -> programs.Program:
    """Return a program, after installing it if it is missing.

    Raises `LabError` with one sentence when it cannot be had.
    """
    try:
        return programs.find(name)
    except LabError:
        pass
    if name == "mariadb":
        with locked(say):
            debian.install_server(say)
        return programs.find(name)
    try:
        with locked(say):
            return _install_into_cache(name, say)
    except OSError as error:
        raise LabError(
            f"Installing {name} failed: {error.strerror or error} ({error.filename or cache.root()}); "
            "nothing half-done was left. LAB_CACHE may name a folder elsewhere."
        ) from error


@contextmanager
def locked(say: Say) -> Iterator[None]:
    """Hold the cache's lock, so that one set-up at a time installs; waits with a word."""
    cache.root().mkdir(parents=True, exist_ok=True)
    with (cache.root() / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another set-up is installing programs; waiting for it to end.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install_into_cache(name: str, say: Say) -> programs.Program:
    try:
        return programs.find(name)  # whoever had the lock before may have installed it
    except LabError as missing:
        say(f"· {missing.args[0].partition(';')[0]}")
    shelf = cache.root() / "programs"
    shelf.mkdir(parents=True, exist_ok=True)
    for leftover in shelf.glob(f"{_UNFINISHED}*"):  # of a set-up that was killed: the lock is ours
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=shelf, prefix=_UNFINISHED, ignore_cleanup_errors=True) as folder:
        origin = _obtain(name, Path(folder), say)
        _put(name, origin, Path(folder))
    return programs.find(name)


def _obtain(name: str, folder: Path, say: Say) -> str:
    """Make `folder/name` by the first way that works; return which: `release` or `source`."""
    try:
        if address := release.archive():
            say(f"· asking {address} for {name} {cache.pinned(name)}")
        release.fetch(name, folder)
    except release.UnavailableError as why:
        say(f"  {why}: compiling instead")
        gobuild.build(name, folder, say)
        return "source"
    return "release"


def _put(name: str, origin: str, folder: Path) -> None:
    """Move a program from where it was made to its place, once it has said its version."""
    made, place = folder / name, cache.place(name, origin)
    made.chmod(0o755)
    checked = programs.inspect(name, made, origin)
    if isinstance(checked, programs.Unfit):
        raise LabError(f"The {name} that was made here {checked.reason}, so it was thrown away.")
    with made.open("rb") as file:
        os.fsync(file.fileno())
    finished = folder / "finished"
    finished.mkdir()
    made.rename(finished / name)
    size = (finished / name).stat().st_size
    cache.write(finished, cache.Record(name, checked.version, checked.flavour, origin, size))
    if place.exists():  # damaged, or it would have been found
        place.rename(folder / "damaged")
    finished.rename(place)


def everything(say: Say = say) -> int:
    """Install what is missing; return 0, or 1 when something could not be had, having said why."""
    failed = 0
    for name in programs.NAMES:
        begun = time.monotonic()
        try:
            program = install(name, say)
        except LabError as error:
            print(error, file=sys.stderr, flush=True)
            failed = 1
            continue
        took = time.monotonic() - begun
        spent = f", {clock(took)}" if took >= 1 else ""
        say(f"✓ {name} {program.version}, {describe(program)}{spent}")
    if not failed:
        gobuild.forget_caches()
        say("Ready. `make workbook` opens the workbook, `make help` lists the rest.")
    return failed


def describe(program: programs.Program) -> str:
    """Return what kind of program it is and where it comes from, for people."""
    origin = {
        "PATH": f"found at {program.path}",
        "release": "HashiCorp's release",
        "source": "compiled from source",
    }[program.origin]
    kind = {"mariadb": "MariaDB", "mysql": "MySQL"}.get(program.flavour, program.flavour)
    return f"{kind}, {origin}" if program.name != "consul" else origin


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    """Install everything as a command: 0 done, 1 something is missing, 130 interrupted."""
    signal.signal(signal.SIGTERM, _terminate)  # a CI that gives up sends this; clean up likewise
    try:
        return everything()
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; nothing half-done was left. `make setup` goes on from here.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
