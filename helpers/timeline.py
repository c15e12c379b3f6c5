"""From samples to spans: what a lane said, from when to when, and how well that is known.

A transition is only known to lie between two samples, so a span has four times: it began
between `t0_lo` and `t0_hi` and ended between `t1_lo` and `t1_hi` (seconds since the run's
start). Where nobody looked, nothing is claimed: a hole of more than `GAP` ticks is a span of
its own in state `unknown`, and no span reaches beyond the last sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

#: Ticks without a sample after which a lane counts as not looked at: one may be late, two are missing.
GAP = 2.5
#: Seconds without a row after which a catalog lane counts as not looked at. The recorder asks each
#: agent with a blocking query of 2 s (`helpers.probes.HOLD`) and writes every lane at each answer.
CATALOG_GAP = 6.0
#: What a hole says in place of an answer.
UNASKED = "not asked"
#: Sources written on change instead of on ticks.
EVENT_DRIVEN = frozenset({"consul_catalog"})

LANE = ["source", "vantage", "target", "check"]
COLUMNS = [*LANE, "state", "raw", "t0_lo", "t0_hi", "t1_lo", "t1_hi"]


@dataclass(frozen=True)
class Lane:
    """One row of a timeline: who was asked (`source`, `vantage`) about what (`target`, `check`)."""

    source: str
    vantage: str
    target: str
    check: str

    def of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of this lane from a table of samples or spans."""
        chosen = np.ones(len(frame), dtype=bool)
        for column in LANE:
            chosen &= (frame[column] == getattr(self, column)).to_numpy(dtype=bool)
        return frame[chosen]


def lanes(samples: pd.DataFrame) -> list[Lane]:
    """Return all lanes that have samples, in the order of their first sample."""
    return [Lane(*map(str, row)) for row in samples[LANE].drop_duplicates().itertuples(index=False)]


def said(raw: pd.Series, error: pd.Series) -> pd.Series:
    """Return what an answer says, without the instance that said it: `204`, `passing active`, `refused`.

    A probe through discovery lands on another instance each time; that is no change of state.
    """
    pairs = list(zip(raw.astype(object), error.astype(object), strict=True))
    short = {pair: _short(*pair) for pair in set(pairs)}
    return pd.Series([short[pair] for pair in pairs], index=raw.index, dtype=object)


def _short(raw: str, error: str) -> str:
    return raw.partition("@")[0].strip() or ("" if error == "none" else error)


def spans(samples: pd.DataFrame, only: Sequence[Lane] | None = None) -> pd.DataFrame:
    """Return the spans of all lanes (or of `only` these): columns `COLUMNS`, sorted by lane and time.

    Samples of one lane with the same state and the same answer, without a hole between them,
    are one span. The lanes of the event-driven catalog hold their state until the next row of
    that lane; a vantage that reports `unknown` ends it.
    """
    samples = samples.assign(raw=said(samples["raw"], samples["error"]))
    groups = {Lane(*map(str, key)): rows for key, rows in samples.groupby(LANE, observed=True, sort=False)}
    wanted = [lane for lane in (lanes(samples) if only is None else only) if lane in groups]
    found = [_spans_of(lane, groups[lane]) for lane in wanted]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=COLUMNS)


def tick(rows: pd.DataFrame) -> float:
    """Return the period of a lane's samples in seconds, from their due times; NaN for fewer than two."""
    due = np.sort(rows["due"].to_numpy(dtype=float))
    return float(np.median(np.diff(due))) if len(due) > 1 else float("nan")


def _spans_of(lane: Lane, rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows.sort_values("sent", kind="stable")
    sent = rows["sent"].to_numpy(dtype=float)
    state = rows["state"].astype(str).to_numpy(dtype=object)
    raw = rows["raw"].to_numpy(dtype=object)
    longest = CATALOG_GAP if lane.source in EVENT_DRIVEN else GAP * tick(rows)
    hole = np.diff(sent) > longest
    change = (state[1:] != state[:-1]) | (raw[1:] != raw[:-1]) | hole
    first = np.concatenate([[0], np.flatnonzero(change) + 1])
    last = np.concatenate([np.flatnonzero(change), [len(sent) - 1]])
    out = []
    for begin, end in zip(first, last, strict=True):
        t0_hi, t1_lo = sent[begin], sent[end]
        t0_lo = sent[begin - 1] if begin and not hole[begin - 1] else t0_hi
        t1_hi = sent[end + 1] if end + 1 < len(sent) and not hole[end] else t1_lo
        out.append((state[begin], raw[begin], t0_lo, t0_hi, t1_lo, t1_hi))
        if end + 1 < len(sent) and hole[end]:
            out.append(("unknown", UNASKED, t1_lo, t1_lo, sent[end + 1], sent[end + 1]))
    who = (lane.source, lane.vantage, lane.target, lane.check)
    return pd.DataFrame([(*who, *span) for span in out], columns=COLUMNS)
