"""Whatever interrupts a set-up, the cache holds whole programs only."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import stand_ins
from stand_ins import left, script

from helpers import cache, install, programs, release
from helpers.errors import LabError
from helpers.topology import REPOSITORY

PATIENCE = 30  # seconds; a set-up against stand-ins takes one or two, on a busy machine too


def set_up(**environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "helpers.install"],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def output(process: subprocess.Popen[str]) -> str:
    try:
        return process.communicate(timeout=PATIENCE)[0]
    finally:
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_download_leaves_nothing(
    shelf: Path, archive: stand_ins.Archive, number: signal.Signals
) -> None:
    archive.offer("consul", script("consul"))
    archive.hold.clear()
    process = set_up()
    assert archive.halfway.wait(PATIENCE)
    assert [name.startswith(".unfinished") for name in left(shelf)[:1]] == [True]
    process.send_signal(number)
    assert "Interrupted; nothing half-done was left" in output(process)
    assert process.returncode == 130
    assert left(shelf) == []


def test_an_interrupted_compile_leaves_nothing(no_archive: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    stand_ins.go(tmp_path / "bin", build=f"echo $$ > {begun}; exec sleep {PATIENCE}")
    process = set_up()
    compiler = int(begun.read_text())  # waits until the compiler runs
    process.send_signal(signal.SIGINT)
    assert "nothing half-done was left" in output(process)
    assert left(no_archive) == []
    with pytest.raises(ProcessLookupError):
        os.kill(compiler, 0)


def test_a_killed_set_up_is_cleaned_up_by_the_next(shelf: Path, archive: stand_ins.Archive) -> None:
    for name in ("consul", "vault"):
        archive.offer(name, script(name))
    archive.hold.clear()
    process = set_up()
    assert archive.halfway.wait(PATIENCE)
    process.kill()
    output(process)
    assert left(shelf)[0].startswith(".unfinished")
    with pytest.raises(LabError):
        programs.find("consul")
    archive.hold.set()
    second = set_up()
    output(second)
    assert second.returncode == 0
    assert not [name for name in left(shelf) if name.startswith(".unfinished")]


def test_two_set_ups_at_once_wait_for_each_other(shelf: Path, archive: stand_ins.Archive) -> None:
    for name in ("consul", "vault"):
        archive.offer(name, script(name))
    archive.hold.clear()
    first = set_up()
    assert archive.halfway.wait(PATIENCE)
    second = set_up()
    assert second.stdout is not None
    assert "waiting for it to end" in second.stdout.readline()
    archive.hold.set()
    output(first), output(second)
    assert (first.returncode, second.returncode) == (0, 0)
    assert sum(page.endswith(".zip") for page in archive.asked) == 2  # one of Consul, one of Vault


def test_the_lock_is_free_after_a_failure(shelf: Path, archive: stand_ins.Archive, said: list[str]) -> None:
    archive.offer("consul", script("consul", "1.9.0"))
    with pytest.raises(LabError):
        install.install("consul", said.append)
    with (cache.root() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_full_disk_leaves_nothing(
    shelf: Path, archive: stand_ins.Archive, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(name: str, folder: Path) -> None:
        (folder / name).write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / name))

    monkeypatch.setattr(release, "fetch", full)
    with pytest.raises(LabError, match="No space left on device.*LAB_CACHE"):
        install.install("consul", said.append)
    assert left(shelf) == []


def test_a_disk_full_at_the_last_step_leaves_nothing(
    shelf: Path, archive: stand_ins.Archive, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path, record: cache.Record) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "record.json"))

    archive.offer("consul", script("consul"))
    monkeypatch.setattr(cache, "write", full)
    with pytest.raises(LabError, match="No space left on device"):
        install.install("consul", said.append)
    assert left(shelf) == []


@pytest.mark.optin
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk, which only root may")
def test_a_truly_full_disk_leaves_nothing(
    archive: stand_ins.Archive, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
    try:
        monkeypatch.setenv("LAB_CACHE", str(disk))
        archive.offer("consul", script("consul") + os.urandom(2 << 20))
        with pytest.raises(LabError, match="No space left on device"):
            install.install("consul", said.append)
        assert left(disk / "programs") == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_cache_that_cannot_be_written_is_one_sentence(
    archive: stand_ins.Archive, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LAB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(LabError, match="Installing consul failed: Not a directory"):
        install.install("consul", said.append)


def test_a_damaged_program_is_replaced(shelf: Path, archive: stand_ins.Archive, said: list[str]) -> None:
    archive.offer("consul", script("consul"))
    made = install.install("consul", said.append).path
    made.write_bytes(b"damaged")
    assert install.install("consul", said.append).path == made
    assert made.read_bytes() == script("consul")
