"""The lab's folder: what it refuses, what it keeps private, what it removes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from helpers.errors import LabError
from helpers.home import Home, write_private
from helpers.topology import REPOSITORY


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "lab")
    made.create()
    return made


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "x" / ".." / "y"))
    assert Home.locate().path == tmp_path / "y"
    monkeypatch.setenv("LAB_HOME", "~/y")
    assert Home.locate().path == Path.home() / "y"
    monkeypatch.setenv("LAB_HOME", "")
    assert Home.locate().path == REPOSITORY / ".lab"


def test_created_private_and_twice(home: Home) -> None:
    home.remember(network="127.20.99")
    home.create()
    assert home.exists
    assert home.settings["network"] == "127.20.99"
    assert mode(home.path) == 0o700
    assert mode(home.path / "lab.json") == 0o600


def test_a_folder_of_ours_is_made_private_again(home: Home) -> None:
    home.path.chmod(0o755)
    home.create()
    assert mode(home.path) == 0o700


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("mine")
    with pytest.raises(LabError, match="which is a file; name a folder instead"):
        Home(tmp_path / "f").create()


def test_somebody_elses_files_are_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    before = mode(tmp_path)
    home = Home(tmp_path)
    with pytest.raises(LabError, match="holds files that are not a lab's"):
        home.create()
    with pytest.raises(LabError, match="is not a lab's folder, so it is left alone"):
        home.purge()
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert mode(tmp_path) == before


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    home = Home(tmp_path / "empty")
    home.create()
    assert home.exists


def test_a_lab_that_may_not_be_looked_at_is_there(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's: what bears its name must not be taken for left over."""

    def refuse(_path: Path, **_options: bool) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "stat", refuse)
    assert home.exists


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that even root cannot write")
def test_a_folder_that_cannot_be_written() -> None:
    with pytest.raises(
        LabError, match=r"/proc/lab cannot be written .*; set LAB_HOME to a folder that can\.$"
    ):
        Home(Path("/proc/lab")).create()


@pytest.mark.parametrize("text", ["{", "", "\0\xff", '{"driver": '])
def test_a_damaged_marker_is_a_sentence(home: Home, text: str) -> None:
    (home.path / "lab.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(LabError, match=r"cannot be read .*; remove .* and start anew\.$"):
        _ = home.settings


def test_settings_add_up(home: Home) -> None:
    home.remember(driver="local")
    home.remember(state="nodes")
    home.remember(state="deployed")
    assert home.settings == {"runtime": str(home.runtime.parent), "driver": "local", "state": "deployed"}


def test_secrets(home: Home) -> None:
    assert home.secret("token") is None
    file = home.keep_secret("token", "hush")
    assert home.secret("token") == "hush"
    assert mode(file) == 0o600
    assert mode(file.parent) == 0o700
    home.drop_secret("token")
    home.drop_secret("token")
    assert home.secret("token") is None


def test_private_files_are_whole_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        write_private(tmp_path / "a" / "b", "one")
        write_private(tmp_path / "a" / "b", "two")
    finally:
        os.umask(old)
    assert (tmp_path / "a" / "b").read_text() == "two"
    assert mode(tmp_path / "a" / "b") == 0o600
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"], "a draft was left"


def test_folders_are_private(home: Home) -> None:
    old = os.umask(0)
    try:
        folder = home.node_folder("todo0", "todo")
        assert home.log("todo0", "todo").parent.name == "logs"
    finally:
        os.umask(old)
    assert folder == home.path / "nodes" / "todo0" / "todo"
    for path in (folder, folder.parent, folder.parent.parent, home.path / "logs"):
        assert mode(path) == 0o700, path


def test_forgetting_keeps_logs_and_runs(home: Home) -> None:
    home.node_folder("mysql", "mariadb")
    home.keep_secret("token", "hush")
    home.folder("runs", "one")
    home.log("todo0", "todo").write_text("a line")
    home.forget_data()
    assert list((home.path / "nodes").glob("*/*")) == []
    assert home.secret("token") is None
    assert (home.path / "runs" / "one").is_dir()
    assert home.log("todo0", "todo").read_text() == "a line"


def test_purge_leaves_nothing_and_may_be_repeated(home: Home) -> None:
    runtime = home.runtime
    home.purge()
    home.purge()
    assert not home.path.exists()
    assert not runtime.exists()


def test_sockets_have_short_paths(tmp_path: Path) -> None:
    deep = Home(tmp_path / ("deep/" * 40))
    assert len(str(deep.runtime / "supervisor.sock")) < 108
    assert mode(deep.runtime) == 0o700
    assert deep.runtime != Home(tmp_path / "other").runtime
    deep.runtime.rmdir()


def test_one_at_a_time(home: Home) -> None:
    with (
        home.changing(),
        pytest.raises(LabError, match=rf"is being changed by process {os.getpid()}; wait for it or end it"),
        Home(home.path).changing(),
    ):
        pytest.fail("two commands at once")
    with home.changing():
        pass
    home.purge()


def test_sockets_stay_where_they_are_in_another_terminal(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = home.runtime
    elsewhere = tmp_path / "run"
    elsewhere.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(elsewhere))
    assert Home(home.path).runtime == made
    with home.changing(), pytest.raises(LabError, match="is being changed"), Home(home.path).changing():
        pass
    assert not list(elsewhere.iterdir())


def test_a_write_that_is_interrupted_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rest of it would make the folder look like somebody else's."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Home(tmp_path / "lab").create()
    Home(tmp_path / "lab").create()
    Home(tmp_path / "lab").purge()


@pytest.mark.parametrize("text", ["null", "[]", "{"])
def test_a_broken_lab_json_is_one_sentence_and_can_be_purged(home: Home, text: str) -> None:
    (home.path / "lab.json").write_text(text)
    with pytest.raises(LabError, match=r"lab\.json cannot be read"):
        _ = home.settings
    home.purge()
    assert not home.path.exists()


@pytest.mark.parametrize("place", ["~nobody-of-that-name/lab", "x" * 300])
def test_a_place_that_cannot_be_is_one_sentence(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setenv("LAB_HOME", place)
    with pytest.raises(LabError, match="LAB_HOME"):
        Home.locate().create()
