"""Which processes are a lab's: by the mark, or a server in its folder; a reader's own are left alone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import psutil
import pytest

from helpers.drivers import strays
from helpers.waiting import until


@pytest.mark.parametrize(
    ("environment", "command", "ours"),
    [
        ({strays.MARK: "/srv/a/.lab"}, ["anything"], True),
        ({strays.MARK: "/srv/b/.lab"}, ["/bin/vault", "-config=/srv/a/.lab/nodes/vault0/vault.hcl"], False),
        ({}, ["/usr/sbin/mariadbd", "--datadir=/srv/a/.lab/nodes/mysql/mariadb/data", "--bootstrap"], True),
        ({}, ["tail", "-f", "/srv/a/.lab/nodes/consul/agent/agent.hcl"], False),
        ({}, ["vi", "/srv/a/.lab/nodes/consul/agent/agent.hcl"], False),
        ({}, [], False),
    ],
)
def test_whose_it_is(environment: dict[str, str], command: list[str], ours: bool) -> None:
    assert strays.belongs(environment, command, Path("/srv/a/.lab")) is ours


def line(name: str, state: str, flags: int, threads: int) -> str:
    """A line of /proc/<pid>/stat up to its 20th field; see proc_pid_stat(5)."""
    return f"7001 ({name}) {state} 1 7001 7001 0 -1 {flags} 90 0 0 0 3 2 0 0 20 0 {threads}"


@pytest.mark.parametrize(
    ("stat", "still"),
    [
        (line("mariadbd", "R", 0x400004, 1), True),
        (line("mariadbd", "Z", 0x400004, 9), True),  # its first thread has ended, eight have not
        (line("mariadbd", "Z", 0x400004, 1), False),  # at its end: only its parent has not looked
        (line("mariadbd", "S", 0x400000, 30), False),
        (line("a) Z 4 (4", "S", 0x400000, 4), False),  # a name is what its owner likes
    ],
)
def test_what_is_killed_and_not_gone(stat: str, still: bool) -> None:
    assert strays.exiting(stat) is still


def test_what_is_killed_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process is waited for while the kernel is at it, and no longer than patience lasts."""
    answers = [True, True, False]
    monkeypatch.setattr(psutil, "pids", lambda: [7001])
    monkeypatch.setattr(strays, "_exiting_now", lambda _pid: answers.pop(0))
    strays.outlast_exiting()
    assert answers == []
    monkeypatch.setattr(strays, "_exiting_now", lambda _pid: True)
    strays.outlast_exiting(patience=0.05)


def test_a_marked_process_is_found_and_ended(tmp_path: Path) -> None:
    """Started as a child of a shell that ends, as what a dead supervisor leaves behind."""
    told = {**os.environ, strays.MARK: str(tmp_path)}
    subprocess.run(
        ["/bin/sh", "-c", "sleep 60 & sleep 61 >/dev/null 2>&1 &"],
        env=told,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    until(lambda: len(strays.find(tmp_path)) == 2, "Two strays", 5)
    found = strays.find(tmp_path)
    strays.end(found)
    assert not any(
        psutil.pid_exists(stray.pid) and psutil.Process(stray.pid).status() != "zombie" for stray in found
    )
    strays.end(found)  # of what is gone already, nothing is left to do
