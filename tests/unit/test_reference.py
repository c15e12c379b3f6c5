"""Reference runs: small, labelled as recorded, judged again by today's bounds, of no machine."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from helpers import figures, records, reference
from helpers.errors import LabError
from helpers.showing import Showing

RUNS = sorted(path for path in reference.FOLDER.glob("*") if path.is_dir())
every_run = pytest.mark.parametrize("folder", RUNS, ids=lambda path: path.name)


def test_there_are_runs_of_the_notebooks_that_break_something() -> None:
    assert {"05", "06", "07", "08"} == {path.name[:2] for path in RUNS}


@every_run
def test_it_is_small_and_of_no_machine(folder: Path) -> None:
    assert sum(file.stat().st_size for file in folder.iterdir()) <= reference.LIMIT
    assert not re.search(r"/(tmp|root|home|work|Users)/", (folder / "run.json").read_text())


@every_run
def test_nothing_in_it_is_broken(folder: Path) -> None:
    table = reference.load(folder.name).table()
    assert set(table["verdict"]) <= {"held", "–"}, table.to_string()


@every_run
def test_it_says_that_it_is_recorded(folder: Path) -> None:
    run = reference.load(folder.name)
    assert run.records is not None
    assert figures.recorded(run.records).startswith("recorded 20")
    assert "not your run" in figures.alt_text(run.records)


def test_an_unknown_name_is_one_sentence_with_the_known_ones() -> None:
    with pytest.raises(LabError, match="no recorded run 'kill'.*05-kill"):
        reference.load("kill")


def test_a_run_that_is_not_over_or_is_broken_is_no_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    with pytest.raises(LabError, match="not over"):
        reference.save(Showing(), "x")
    monkeypatch.undo()
    run = reference.load("05-kill")
    assert run.records is not None
    run.records.info["config"]["check_interval"] = 0.1  # nothing is noticed as fast as that
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    with pytest.raises(LabError, match="broken"):
        reference.save(run, "x")
    assert list(tmp_path.iterdir()) == []


def test_what_is_saved_is_read_back_as_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = reference.load("05-kill")
    assert run.records is not None
    del run.records.info["recorded"]
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    folder = reference.save(run, "again")
    assert json.loads((folder / "run.json").read_text())["recorded"] is True
    assert reference.load("again").table().equals(run.table())


@every_run
def test_its_recording_can_be_trusted(folder: Path) -> None:
    assert records.validate(records.read(folder)) == []
