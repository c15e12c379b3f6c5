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
