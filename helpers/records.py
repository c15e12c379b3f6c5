"""A recording as tables: read, write, check.

A run is a folder: `run.json` (what was done where, and the anchors of the two clocks),
`samples` and `events`. While it is recorded both are JSON lines (`helpers/rows.py`), when it
is finished parquet, which pandas reads back with its types. Either way `read` returns the
same tables.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers import rows
from helpers.rows import append_event, now, start

__all__ = [
    "Records",
    "append_event",
    "finish",
    "ledger",
    "now",
    "read",
    "start",
    "tables",
    "validate",
    "write",
]

LANE = ["source", "vantage", "target", "check"]
EVENT_COLUMNS = [
    "id",
    "t_begin",
    "t_end",
    "phase",
    "fault",
    "target",
    "params",
    "ok",
    "message",
    "bounds",
]
_SAMPLE_TYPES: dict[str, Any] = {
    "seq": "Int64",
    "index": "Int64",
    "raw": "str",
    "state": pd.CategoricalDtype(list(rows.STATES), ordered=True),
    "error": pd.CategoricalDtype(list(rows.ERRORS)),
    **dict.fromkeys(["due", "sent", "done"], "float64"),
    **dict.fromkeys(LANE, "category"),
}
_EVENT_TYPES: dict[str, Any] = {
    "id": "Int64",
    "ok": "bool",
    "phase": pd.CategoricalDtype(list(rows.PHASES)),
    **dict.fromkeys(["t_begin", "t_end"], "float64"),
    **dict.fromkeys(["fault", "target", "params", "message", "bounds"], "str"),
}
#: Times in parquet are multiples of this (61 µs): rounded in binary they compress to a third.
GRAIN = 2.0**-14


@dataclass
class Records:
    """One run: `info` is its `run.json`, times are seconds since its start."""

    info: dict[str, Any] = field(repr=False)
    samples: pd.DataFrame = field(repr=False)
    events: pd.DataFrame = field(repr=False)
    folder: Path | None = None


def tables(samples: pd.DataFrame, events: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both tables with their columns in order and their types, sorted by time."""
    samples = pd.DataFrame(samples, columns=rows.COLUMNS)
    events = pd.DataFrame(events, columns=EVENT_COLUMNS)
    samples = samples.astype(_SAMPLE_TYPES)
    events = events.astype(_EVENT_TYPES)
    samples = samples.sort_values(["sent", *LANE, "seq"], ignore_index=True)
    return samples, events.sort_values(["t_begin", "id"], ignore_index=True)


def read(folder: Path) -> Records:
    """Read a run, finished or still being recorded; raises `LabError` if there is none.

    A half-written line (a killed writer, or one that is writing now) is left out.
    """
    info = rows.run_info(folder)
    kept = folder / "samples.parquet"
    if kept.exists():
        samples, events = pd.read_parquet(kept), pd.read_parquet(folder / "events.parquet")
    else:
        width = len(rows.COLUMNS)
        lines = rows.whole_lines(folder / rows.SAMPLES)
        whole = [row for row in lines if len(row) == width and row[0] != "seq"]
        samples = pd.DataFrame(whole, columns=rows.COLUMNS)
        events = pd.DataFrame(rows.whole_lines(folder / rows.EVENTS), columns=EVENT_COLUMNS)
    samples, events = tables(samples, events)
    return Records(info, samples, events, folder)


def write(records: Records, folder: Path) -> None:
    """Write a run into a folder, as parquet and `run.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = records.samples.copy()
    for column in ("due", "sent", "done"):
        samples[column] = (samples[column] / GRAIN).round() * GRAIN
    rows.write_whole(folder / rows.RUN, records.info)
    # The samples last: their file says that both are whole.
    with _draft(folder / "events.parquet") as draft:
        records.events.to_parquet(draft, compression="zstd")
    with _draft(folder / "samples.parquet") as draft:
        samples.to_parquet(
            draft,
            compression="zstd",
            compression_level=19,
            use_dictionary=[*LANE, "state", "error", "raw"],
            column_encoding=dict.fromkeys(["due", "sent", "done"], "BYTE_STREAM_SPLIT"),
        )


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """Give a path to write to; it becomes `path` when that went well, so that no reader meets a half one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def finish(folder: Path) -> Records:
    """Turn a run's JSON lines into parquet, once its recorder has ended, and return it."""
    records = read(folder)
    if not (folder / "samples.parquet").exists():
        write(records, folder)
        for name in (rows.SAMPLES, rows.EVENTS):
            (folder / name).unlink(missing_ok=True)
    return read(folder)


def ledger(folder: Path) -> pd.DataFrame:
    """Return the ledger of a run: one row per todo that was written to stay.

    Columns: `t`, `id` (missing when nobody acknowledged the write), `content`, `instance`,
    `error`.
    """
    columns = ["t", "id", "content", "instance", "error"]
    entries = pd.DataFrame(rows.whole_lines(folder / rows.LEDGER), columns=columns)
    return entries.astype({"t": "float64", "id": "Int64"})


def validate(records: Records) -> list[str]:
    """Return what is wrong with a recording, one sentence each; empty when it can be trusted.

    It finds ticks that were dropped (numbered through or not), states that the raw answer
    does not support (such as silence taken for down), times in an impossible order, and
    events whose edges are swapped or whose heal comes before its inject.
    """
    return [
        *_wrong_times(records.samples),
        *_wrong_ticks(records.samples),
        *_wrong_states(records.samples),
        *_wrong_events(records.events),
    ]


#: Ticks of one lane are apart by its period; rounding (0.1 ms) and GRAIN add to that.
_PERIOD_TOLERANCE = 0.001
#: Ticks by which one lane may end before another: each has its own phase, and the end comes between two.
_LAST_TICKS = 3


def _wrong_times(samples: pd.DataFrame) -> list[str]:
    wrong = []
    if samples[["seq", "due", "sent"]].isna().any(axis=None):
        wrong.append("A sample has no number, no due time or no time sent.")
    if (samples["sent"] < samples["due"] - _PERIOD_TOLERANCE).any():
        wrong.append("A sample was sent before it was due.")
    if (samples["done"] < samples["sent"] - _PERIOD_TOLERANCE).any():
        wrong.append("A sample was answered before it was sent.")
    return wrong


def _wrong_ticks(samples: pd.DataFrame) -> list[str]:
    wrong = []
    finish = samples["due"].max()
    for lane, ticks in samples.groupby(LANE, observed=True):
        name = " ".join(map(str, lane))
        ticks = ticks.sort_values("seq")
        seq = ticks["seq"].to_numpy(dtype="int64")
        steps = np.diff(seq)
        if (steps == 0).any():
            wrong.append(f"{name} has two samples for one tick.")
        elif (steps > 1).any():
            at = seq[:-1][steps > 1][0]
            wrong.append(f"{name} dropped ticks after number {at}.")
        due = np.diff(ticks["due"].to_numpy())
        if (due < -_PERIOD_TOLERANCE).any():
            wrong.append(f"{name} is numbered against the order of its times.")
        elif lane[0] != "consul_catalog" and len(due) and (steps > 0).all():
            period = np.median(due / steps)
            if (np.abs(due / steps - period) > _PERIOD_TOLERANCE).any():
                wrong.append(f"{name} is not on absolute ticks of {period:.3f} s.")
            if seq[0]:
                wrong.append(f"{name} dropped its first {seq[0]} ticks.")
            if finish - ticks["due"].iloc[-1] > _LAST_TICKS * period + _PERIOD_TOLERANCE:
                wrong.append(f"{name} dropped its last ticks: it ends before the others.")
    return wrong


def _wrong_states(samples: pd.DataFrame) -> list[str]:
    wrong = []
    if samples[["state", "error", *LANE]].isna().any(axis=None):
        wrong.append("A sample has a state, an error or a lane that is not in the vocabulary.")
    said = samples[["source", "raw", "error", "state"]].drop_duplicates()
    for source, raw, error, state in said.dropna().itertuples(index=False):
        if error == "overrun":
            # its own answer does not exist: only the silence of an observer is fixed
            silent = {"unknown"} | ({"down"} if source in rows.NAMERS else set())  # no such name, no leader
            possible = silent if source in rows.OBSERVERS and not raw else set(rows.STATES)
        else:
            try:
                possible = {rows.state_of(source, raw, error)}
            except KeyError:
                possible = set()
        if state not in possible:
            wrong.append(
                f"{source} says {raw!r} (error {error}): that is not {state}"
                + (f" but {next(iter(possible))}." if len(possible) == 1 else ".")
            )
    return wrong


def _wrong_events(events: pd.DataFrame) -> list[str]:
    wrong = []
    if events[["id", "t_begin", "t_end", "phase"]].isna().any(axis=None):
        wrong.append("An event has no number, no edge or a phase that is not in the vocabulary.")
    if events["id"].duplicated().any():
        wrong.append("Two events have the same number.")
    swapped = events[events["t_end"] < events["t_begin"]]
    for number, phase, fault in swapped[["id", "phase", "fault"]].itertuples(index=False):
        wrong.append(f"Event {number} ({phase} {fault}) ends before it begins.")
    injected = events[events["phase"] == "inject"].groupby("fault")["t_begin"].min()
    heals = events[(events["phase"] == "heal") & events["fault"].isin(injected.index)]
    for number, fault, end in heals[["id", "fault", "t_end"]].itertuples(index=False):
        if end < injected[fault]:
            wrong.append(f"Event {number} heals {fault!r} before it is injected.")
    return wrong
