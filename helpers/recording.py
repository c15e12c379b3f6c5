"""The recorder as a program of the lab: started for a run, ended with it, never left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers import owners, rows
from helpers.drivers.local import RECORDER
from helpers.errors import LabError
from helpers.recorder import MARK, spec_for
from helpers.waiting import until

if TYPE_CHECKING:
    from helpers.lab import Lab

SPEC = "recorder-spec.json"


def start(lab: Lab, folder: Path, **options: Any) -> None:
    """Record into a run's folder; returns when the first tick is due.

    `options` are those of `helpers.recorder.spec_for`. Raises `LabError` when it does not start, or when
    another notebook records.
    """
    refuse_another(lab)
    end(lab)
    spec = spec_for(
        lab.topology,
        folder,
        vault_token=lab.home.path / "secrets" / "operator-token",
        pids=lab.home.path / "pids.json" if lab.driver.sees_processes else None,
        **options,
    )
    rows.write_whole(lab.home.path / SPEC, {**spec, "owner": owners.this()})
    lab.driver.start([RECORDER])
    until(
        lambda: (folder / MARK).exists(),
        f"The start of the recorder (its log: {lab.home.path / 'logs' / 'recorder.log'})",
        at_most=15,
    )


def end(lab: Lab) -> None:
    """End the recorder when it runs."""
    if lab.driver.pid(RECORDER) is not None:
        lab.driver.stop([RECORDER])


def end_orphaned(lab: Lab) -> None:
    """End a recorder whose notebook is gone; one whose notebook lives is left alone."""
    if lab.driver.pid(RECORDER) is not None and not owners.lives(_owner(lab)):
        end(lab)


def refuse_another(lab: Lab) -> None:
    """Raise `LabError` when another living process records: two experiments would spoil each other."""
    if lab.driver.pid(RECORDER) is None:
        return
    owner = _owner(lab)
    if owner is not None and owners.lives(owner) and not owners.is_this(owner):
        raise LabError(
            f"Another notebook or program (process {owner['pid']}) records an experiment on this lab; "
            "wait for its end, or shut its kernel down."
        )


def _owner(lab: Lab) -> dict[str, Any] | None:
    owner: dict[str, Any] | None = json.loads((lab.home.path / SPEC).read_text())["owner"]
    return owner


def ended_early(lab: Lab, folder: Path) -> str:
    """Return why a recording was over before it was asked to end, one sentence; empty when it was asked."""
    file = folder / MARK
    mark = json.loads(file.read_text()) if file.exists() else {}
    if mark.get("reason") == "asked":
        return ""
    if "ended" not in mark:
        return f"The recorder died in the middle; its log: {lab.home.path / 'logs' / 'recorder.log'}"
    why = {"deadline": "its longest time was over, `deadline=` of `lab.record`", "disk": "no room was left"}
    return f"The recording had ended by itself at {mark['ended']:.0f} s: {why[mark['reason']]}."
