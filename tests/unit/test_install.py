"""Installing programs: the release archive on good and bad days, and apt."""

from __future__ import annotations

import hashlib
import socket
import threading
from pathlib import Path

import pytest
import stand_ins
from stand_ins import left, script

from helpers import cache, debian, install, programs, release
from helpers.errors import LabError


@pytest.mark.parametrize("name", ["consul", "vault"])
def test_a_good_sum_installs(shelf: Path, archive: stand_ins.Archive, said: list[str], name: str) -> None:
    archive.offer(name, script(name))
    program = install.install(name, said.append)
    assert (program.origin, program.version) == ("release", cache.pinned(name))
    assert program == programs.find(name)
    folder = cache.place(name, "release").name
    assert left(shelf) == sorted([folder, f"{folder}/{name}", f"{folder}/record.json"])


def test_a_wrong_sum_is_refused_and_leaves_nothing(
    shelf: Path, archive: stand_ins.Archive, said: list[str]
) -> None:
    archive.offer("consul", script("consul"))
    page = next(page for page in archive.pages if page.endswith(".zip"))
    archive.pages[page] += b"x"
    with pytest.raises(LabError, match="does not have the sum .* refused"):
        install.install("consul", said.append)
    assert left(shelf) == []


def test_a_cut_download_is_refused_and_leaves_nothing(
    shelf: Path, archive: stand_ins.Archive, said: list[str]
) -> None:
    archive.offer("consul", script("consul"))
    archive.cut = True
    with pytest.raises(LabError, match="broke off"):
        install.install("consul", said.append)
    assert left(shelf) == []
    archive.cut = False
    assert install.install("consul", said.append).origin == "release"


def test_an_archive_without_the_program_is_refused(
    shelf: Path, archive: stand_ins.Archive, said: list[str]
) -> None:
    archive.offer("consul", script("consul"))
    page = next(page for page in archive.pages if page.endswith(".zip"))
    archive.offer("vault", script("vault"))
    other = next(page for page in archive.pages if page.startswith("/vault") and page.endswith(".zip"))
    sums = page.replace(page.rpartition("/")[2], f"consul_{cache.pinned('consul')}_SHA256SUMS")
    archive.pages[page] = archive.pages[other]
    digest = hashlib.sha256(archive.pages[page]).hexdigest()
    archive.pages[sums] = f"{digest}  {page.rpartition('/')[2]}\n".encode()
    with pytest.raises(LabError, match="holds no program called consul"):
        install.install("consul", said.append)
    assert left(shelf) == []


def test_a_program_of_another_version_is_thrown_away(
    shelf: Path, archive: stand_ins.Archive, said: list[str]
) -> None:
    archive.offer("consul", script("consul", "1.9.0"))
    with pytest.raises(LabError, match="is 1.9.0"):
        install.install("consul", said.append)
    assert left(shelf) == []


@pytest.mark.parametrize("why", ["404", "500", "sums of other files", "refused", "none"])
def test_what_the_archive_cannot_give_is_compiled(
    shelf: Path,
    archive: stand_ins.Archive,
    said: list[str],
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_ins.go(tmp_path / "bin")
    if why == "500":
        archive.status = 500
    elif why == "sums of other files":
        archive.offer("vault", script("vault"), b"0" * 64 + b"  vault_0.1_plan9_mips.zip\n")
    elif why == "refused":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            monkeypatch.setenv("LAB_RELEASES", f"http://127.0.0.1:{free.getsockname()[1]}")
    elif why == "none":
        monkeypatch.setenv("LAB_RELEASES", "none")
    program = install.install("vault", said.append)
    assert program.origin == "source"
    assert sum("compiling instead" in line for line in said) == 1
    assert left(shelf)[0] == cache.place("vault", "source").name


def test_an_archive_that_never_answers_is_given_up(
    shelf: Path, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_ins.go(tmp_path / "bin")
    monkeypatch.setattr(release, "_LIMITS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("LAB_RELEASES", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert install.install("consul", said.append).origin == "source"
    assert any("cannot be reached" in line for line in said)


@pytest.fixture
def no_server(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a machine without a database server, whose apt can be told what to do."""
    (tmp_path / "bin" / "mariadbd").unlink()
    monkeypatch.setattr(programs, "_SERVER_FOLDERS", ())
    monkeypatch.setattr(programs, "_search_path", lambda: [tmp_path / "bin"])
    return tmp_path / "bin"


def apt(folder: Path, body: str) -> Path:
    log = folder / "apt.log"
    (folder / "apt-get").write_text(f'#!/bin/sh\necho "$@" >> {log}\n{body}\n')
    (folder / "apt-get").chmod(0o755)
    return log


def test_without_root_the_ways_out_are_named(
    no_server: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian, "administrator", lambda: None)
    with pytest.raises(LabError, match="conda.*brew.*apt-get install mariadb-server-core"):
        install.install("mariadb", said.append)


def test_apt_installs_the_server(no_server: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "administrator", list)
    made = stand_ins.program(no_server.parent / "elsewhere", "mariadbd", "10.11.19")
    log = apt(no_server, f"cp {made} {no_server}/mariadbd")
    assert install.install("mariadb", said.append).version == "10.11.19"
    assert "update" not in log.read_text()


def test_apt_updates_its_lists_when_it_must(
    no_server: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian, "administrator", list)
    made = stand_ins.program(no_server.parent / "elsewhere", "mariadbd", "10.11.19")
    updated = no_server.parent / "updated"
    log = apt(
        no_server,
        f'case "$*" in *update*) touch {updated} ;; '
        f"*) test -f {updated} && cp {made} {no_server}/mariadbd ;; esac",
    )
    assert install.install("mariadb", said.append).flavour == "mariadb"
    assert [line.split()[-1] for line in log.read_text().splitlines()] == [
        debian.PACKAGE,
        "update",
        debian.PACKAGE,
    ]


def test_a_failing_apt_is_quoted(no_server: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "administrator", list)
    apt(no_server, "echo 'E: Unable to locate package'; exit 100")
    with pytest.raises(LabError, match="E: Unable to locate package.*conda"):
        install.install("mariadb", said.append)


def test_everything_goes_on_after_a_failure_and_says_so(
    no_server: Path,
    archive: stand_ins.Archive,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(debian, "administrator", lambda: None)
    for name in ("consul", "vault"):
        archive.offer(name, script(name))
    assert install.everything() == 1
    printed = capsys.readouterr()
    assert "✓ consul" in printed.out
    assert "✓ vault" in printed.out
    assert "The lab needs a MariaDB or MySQL server" in printed.err
    assert threading.active_count() < 20
