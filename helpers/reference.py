"""Reference runs: one recorded run of each experiment, for a reader without a lab or with other numbers.

They lie in `notebooks/runs/`, one small folder each, and every figure of one says that it is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from helpers import records
from helpers.errors import LabError
from helpers.showing import Showing
from helpers.topology import REPOSITORY

if TYPE_CHECKING:
    import pandas

FOLDER = REPOSITORY / "notebooks" / "runs"
#: Bytes of one stored run: what a repository and its readers bear for every experiment.
LIMIT = 200_000


class Recorded(Showing):
    """A stored run: it has `records`, `figure`, `table`, `verdict`, `compare`, `summary`, as your own has."""

    def table(self) -> pandas.DataFrame:
        """Return what was allowed and measured; each fault's name says that it was recorded."""
        found = super().table()
        return found.assign(fault=found["fault"] + " (recorded)")


def load(name: str, predict: Mapping[str, float] | None = None) -> Recorded:
    """Return the reference run of that name, such as `05-kill`; `LabError` when there is none.

    `predict` takes the place of what was predicted when it was recorded, as in `lab.record`.
    """
    folder = FOLDER / name
    if not folder.is_dir():
        known = ", ".join(sorted(path.name for path in FOLDER.glob("*") if path.is_dir())) or "none"
        raise LabError(f"There is no recorded run {name!r}; there are {known}.")
    found = records.read(folder)
    return Recorded(
        found if predict is None else replace(found, info={**found.info, "prediction": dict(predict)})
    )


def save(run: Showing, name: str) -> Path:
    """Store a finished run under a name, marked as recorded, and return its folder.

    Raises `LabError` for a run that is not over, in which something allowed is broken or not known, or
    that is larger than `LIMIT`: a reader holds their own run against it.
    """
    table, verdict = run.table(), run.verdict()
    if not table["verdict"].isin(["held", "–"]).all():
        raise LabError(f"This run is no reference: it is {verdict} ({verdict.reason}).")
    assert run.records is not None  # its table was made of them
    kept = records.Records({**run.records.info, "recorded": True}, run.records.samples, run.records.events)
    folder = FOLDER / name
    records.write(kept, folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
    if size > LIMIT:
        raise LabError(f"The run has {size} bytes; a reference has at most {LIMIT}. Record less of it.")
    return folder
