"""Programs are found on PATH, if their version fits, then in the cache."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import stand_ins

from helpers import cache, programs
from helpers.errors import LabError


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a machine with one empty folder on PATH and an empty cache."""
    monkeypatch.setenv("LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(programs, "_search_path", lambda: [tmp_path / "bin"])
    monkeypatch.setattr(programs, "_SERVER_FOLDERS", ())
    return tmp_path / "bin"


def cached(name: str, origin: str = "source") -> Path:
    folder = cache.place(name, origin)
    made = stand_ins.program(folder, name, cache.pinned(name))
    cache.write(folder, cache.Record(name, cache.pinned(name), "trimmed", origin, made.stat().st_size))
    return made


@pytest.mark.parametrize("name", ["consul", "vault"])
def test_a_program_on_path_is_used(path: Path, name: str) -> None:
    made = stand_ins.program(path, name, cache.pinned(name))
    found = programs.find(name)
    assert (found.path, found.version, found.origin) == (made, cache.pinned(name), "PATH")
    assert found.flavour == "full"


def test_a_later_version_of_the_series_fits(path: Path) -> None:
    series = cache.pinned("consul").rpartition(".")[0]
    stand_ins.program(path, "consul", f"{series}.99")
    assert programs.find("consul").version == f"{series}.99"


@pytest.mark.parametrize("version", ["1.9.0", "1.22.4", "1.23.0", "2.0.4"])
def test_another_version_is_refused_and_named(path: Path, version: str) -> None:
    made = stand_ins.program(path, "consul", version)
    with pytest.raises(LabError, match=f"{made} is {version}.*make setup"):
        programs.find("consul")


def test_a_version_that_asks_for_a_licence_is_refused(path: Path) -> None:
    stand_ins.program(path, "vault", f"{cache.pinned('vault')}+ent")
    with pytest.raises(LabError, match="licence"):
        programs.find("vault")


def test_something_else_of_that_name_is_refused(path: Path) -> None:
    path.mkdir()
    (path / "vault").write_text("#!/bin/sh\necho what\n")
    (path / "vault").chmod(0o755)
    with pytest.raises(LabError, match="does not say its version"):
        programs.find("vault")


def test_the_cache_serves_what_path_lacks(path: Path) -> None:
    stand_ins.program(path, "vault", "1.9.0")
    made = cached("vault")
    found = programs.find("vault")
    assert (found.path, found.flavour, found.origin) == (made, "trimmed", "source")


def test_a_program_cut_short_in_the_cache_is_not_used(path: Path) -> None:
    made = cached("consul")
    made.write_text("#!/bin/sh\n")
    with pytest.raises(LabError, match="Consul .* is missing; `make setup`"):
        programs.find("consul")


def test_a_changed_recipe_makes_the_compiled_program_old(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached("vault")
    monkeypatch.setattr(cache, "recipe", lambda name: "00000000")
    with pytest.raises(LabError, match="Vault .* is missing"):
        programs.find("vault")


def test_the_version_is_asked_once(path: Path, tmp_path: Path) -> None:
    count = tmp_path / "count"
    stand_ins.program(path, "consul", cache.pinned("consul"), f"echo once >> {count}\n")
    for _ in range(3):
        programs.find("consul")
    assert count.read_text() == "once\n"


def test_a_replaced_program_is_asked_again(path: Path) -> None:
    stand_ins.program(path, "consul", cache.pinned("consul"))
    programs.find("consul")
    stand_ins.program(path, "consul", "1.9.0")
    with pytest.raises(LabError):
        programs.find("consul")


def test_finding_is_quick_enough_for_every_command(path: Path) -> None:
    for name in ("consul", "vault"):
        stand_ins.program(path, name, cache.pinned(name))
        programs.find(name)
    begun = time.monotonic()
    for _ in range(20):
        programs.find("consul"), programs.find("vault")
    # A command looks for each program once or twice; a twentieth of a second is not felt.
    assert (time.monotonic() - begun) / 20 < 0.05


def test_a_cache_that_cannot_be_written_does_not_hinder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins.program(path, "consul", cache.pinned("consul"))
    (path.parent / "file").touch()
    monkeypatch.setenv("LAB_CACHE", str(path.parent / "file" / "cache"))
    assert programs.find("consul").origin == "PATH"


def test_mariadb_with_its_initializer(path: Path) -> None:
    stand_ins.program(path, "mariadbd", "10.11.19")
    tool = path / "mariadb-install-db"
    tool.touch(mode=0o755)
    found = programs.find("mariadb")
    assert (found.flavour, found.version, found.initializer) == ("mariadb", "10.11.19", tool)


def test_a_mysql_server_serves_as_well(path: Path) -> None:
    stand_ins.program(path, "mysqld", "9.7.1")
    found = programs.find("mariadb")
    assert (found.flavour, found.version, found.initializer) == ("mysql", "9.7.1", None)


@pytest.mark.parametrize(("server", "version"), [("mariadbd", "10.3.1"), ("mysqld", "8.0.36")])
def test_an_old_database_server_is_refused(path: Path, server: str, version: str) -> None:
    stand_ins.program(path, server, version)
    with pytest.raises(LabError, match=f"is {version}; the lab needs"):
        programs.find("mariadb")


def test_vault_flavour_is_read_from_the_build_settings(path: Path) -> None:
    made = stand_ins.program(path, "vault", cache.pinned("vault"), "exit\nbuild\t-tags=minimal\nbuild\tX=1\n")
    assert programs.find("vault").flavour == "trimmed"
    made.write_text(made.read_text().replace("minimal", "ui,netgo"))
    assert programs.find("vault").flavour == "full"


def test_without_a_home_the_cache_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAB_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(LabError, match="set LAB_CACHE"):
        cache.root()


def test_an_unknown_machine_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Windows")
    with pytest.raises(LabError, match="runs on Linux and macOS"):
        cache.machine()


@pytest.mark.parametrize(
    ("system", "processor", "name"),
    [
        ("Linux", "x86_64", "linux-amd64"),
        ("Linux", "aarch64", "linux-arm64"),
        ("Darwin", "arm64", "darwin-arm64"),
    ],
)
def test_machines_are_named_as_the_archive_names_them(
    system: str, processor: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: processor)
    assert cache.machine() == name
