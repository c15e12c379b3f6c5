"""The recorder as a program of the lab: started for a run, ended with it, never left behind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from helpers import rows
from helpers.drivers.local import RECORDER
from helpers.recorder import MARK, spec_for
from helpers.waiting import until

if TYPE_CHECKING:
    from helpers.lab import Lab

SPEC = "recorder-spec.json"


def start(lab: Lab, folder: Path, **options: Any) -> None:
    """Record into a run's folder; returns when the first tick is due.

    `options` are those of `helpers.recorder.spec_for`. Raises `LabError` when it does not start.
    """
    end(lab)
    spec = spec_for(
        lab.topology,
        folder,
        vault_token=lab.home.path / "secrets" / "operator-token",
        pids=lab.home.path / "pids.json" if lab.driver.sees_processes else None,
        **options,
    )
    rows.write_whole(lab.home.path / SPEC, {**spec, "owner": os.getpid()})
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
    if lab.driver.pid(RECORDER) is None:
        return
    if not psutil.pid_exists(json.loads((lab.home.path / SPEC).read_text())["owner"]):
        end(lab)
