"""A machine with nothing installed, for the tests of set-up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import stand_ins


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a machine with an empty cache and nothing but MariaDB; return where programs are put."""
    stand_ins.program(tmp_path / "bin", "mariadbd", "10.11.19")
    monkeypatch.setenv("LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache" / "programs"


@pytest.fixture
def archive(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[stand_ins.Archive]:
    with stand_ins.archive() as running:
        monkeypatch.setenv("LAB_RELEASES", running.address)
        yield running


@pytest.fixture
def no_archive(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAB_RELEASES", "none")
    return shelf
