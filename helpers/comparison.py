"""Figures about more than one run: two runs on one time axis, and repeats on the allowed interval."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from helpers import panels, style
from helpers.cases import USER_LANE, Case, cases
from helpers.errors import LabError
from helpers.figures import (
    DPI,
    LEFT,
    RIGHT,
    ROW,
    WIDTH,
    headline,
    legend,
    recorded,
)
from helpers.metrics import Measured
from helpers.panels import TEXT
from helpers.records import Records
from helpers.style import Look
from helpers.timeline import Lane, lanes, spans
from helpers.verdict import Bounds, Finding, findings, intervals


def compare(a: Records, b: Records) -> Figure:
    """Return two runs one above the other; the axis counts seconds since each run's first injection.

    Shown are what users see, what the victim says itself, and the lanes that carry a bracket in either run.
    Raises `LabError` for a run in which nothing was injected.
    """
    heads, parts, begins, ends = [], [], [], []
    hits = [cases(records) for records in (a, b)]
    if not all(hits):
        raise LabError("A run without a fault cannot be compared; inject one.")
    judged = [findings(records, among=hit) for records, hit in zip((a, b), hits, strict=True)]
    above, below = hits[0][0], hits[1][0]
    later = [_counterpart(lane, below, above) for lane in _wanted(below, judged[1])]
    wanted = _once(_wanted(above, judged[0]) + later)
    both = (wanted, [_counterpart(lane, above, below) for lane in wanted])  # in the same order
    for records, hit, found, ours in zip((a, b), hits, judged, both, strict=True):
        known = lanes(records.samples)
        chosen = [each for lane in _once(ours) if (each := _heard(lane, known))]
        parts.append((records, hit, found, panels.plan_rows(chosen, found)))
        label = recorded(records)
        heads.append(textwrap.wrap(headline(records, found) + (f" [{label}]" if label else ""), 88))
        first, last = float(records.samples["sent"].min()), float(records.samples["sent"].max())
        begins.append(first - hit[0].begin)
        ends.append(panels.end(found, first, last) - hit[0].begin)
    heights = [part[3].height * ROW for part in parts]
    rooms = [0.24 * len(lines) + 0.52 for lines in heads]
    total = sum(heights) + sum(rooms) + 0.95
    fig = Figure(figsize=(WIDTH, total), dpi=DPI)
    y = total
    looks: list[Look] = []
    marks: set[str] = set()
    for (records, hit, found, rows), lines, height, room in zip(parts, heads, heights, rooms, strict=True):
        for number, line in enumerate(lines):
            place = 1 - (total - y + 0.17 + 0.24 * number) / total
            fig.text(0.012, place, line, size=11.5, weight="bold", va="center")
        y -= room
        zero = hit[0].begin
        left, wide = LEFT / WIDTH, (WIDTH - LEFT - RIGHT) / WIDTH
        faults = fig.add_axes((left, (y + 0.02) / total, wide, 0.26 / total))
        y -= height
        body = fig.add_axes((left, y / total, wide, height / total))
        for ax in (faults, body):
            ax.set_xlim(max(begins), max(ends))
            ax.tick_params(labelsize=TEXT)
        panels.strip(faults, records, hit, zero)
        panels.shade(body, hit, zero)
        table = spans(records.samples, rows.lanes)
        looks += panels.lanes_axes(body, table, rows, zero)
        panels.shares(body, records, table, rows, hit, zero)
        marks |= panels.brackets(body, found, rows, zero)
        if records is b:
            body.set_xlabel("seconds since the injection", size=TEXT)
        body.tick_params(axis="x", labelbottom=records is b)
    legend(fig, looks, marks, yours=not any(recorded(records) for records in (a, b)))
    return fig


def _wanted(case: Case, found: Sequence[Finding]) -> list[Lane]:
    """Return the lanes that tell a run's story: its users, its victims themselves, its brackets."""
    wanted = [USER_LANE["todo"], USER_LANE[case.service]]
    wanted += [each.lane for each in found if each.lane is not None and panels.drawn(each)]
    for lane in lanes(case.records.samples):
        victim = lane.target in case.nodes and style.group(lane) == 2 and lane.source in ("todo", "vault")
        vaults = case.service == "consul" and lane.source == "vault"  # whose storage Consul is
        # Each todo is taken out for its database, and the one that is back first serves.
        todos = case.service == "mysql" and (lane.source, lane.check) == ("consul_catalog", "todo")
        if victim or vaults or todos:
            wanted.append(lane)
    return wanted


def _counterpart(lane: Lane, theirs: Case, mine: Case) -> Lane:
    """Return the lane that tells in one run what `lane` tells in another: the victim may be another node."""
    node, colon, program = lane.target.partition(":")
    pairs = [pair for pair in zip(theirs.nodes, mine.nodes, strict=False) if theirs.service == mine.service]
    swap = dict(pairs) | {b: a for a, b in pairs}
    return replace(lane, target=swap.get(node, node) + colon + program)


def _heard(lane: Lane, known: Sequence[Lane]) -> Lane | None:
    """Return the lane as it was recorded, by whatever agent; None if it was not."""
    if lane in known:
        return lane
    return next((other for other in known if panels.same(lane, other)), None)


def _once(lanes: Sequence[Lane]) -> list[Lane]:
    kept: list[Lane] = []
    for lane in lanes:
        if not any(panels.same(lane, other) for other in kept):
            kept.append(lane)
    return kept


#: Intervals that end below this many seconds get an axis of their own: one scale for 0.6 and 40 hides both.
SHORT = 15.0


def repeats(measurements: Mapping[str, Sequence[Measured | float]], bounds: Bounds) -> Figure:
    """Return all measured times of each fault on its allowed interval, one row per fault.

    `measurements` and `bounds` have the faults' names as keys. Times outside are drawn as crosses. Faults
    with short and with long intervals get axes of their own. Raises `LabError` for a fault without bound.
    """
    for name in measurements:
        if name not in bounds:
            raise LabError(f"There is no bound for {name!r}; give one for each fault.")
    allowed = intervals(bounds)
    groups = [
        [name for name in measurements if (allowed[name][1] <= SHORT) == short] for short in (True, False)
    ]
    groups = [names for names in groups if names]
    row, label = 0.42, max(panels.width(name) for name in measurements) + 0.3
    outside = {
        name: [t for t in times if not _inside(t, allowed[name])] for name, times in measurements.items()
    }
    count = sum(len(times) for times in measurements.values())
    bad = sum(len(times) for times in outside.values())
    title = f"{count - bad} of {count} measured times lie in what the protocols allow"
    title += f"; outside: {', '.join(name for name, times in outside.items() if times)}" if bad else ""
    lines = textwrap.wrap(title, 88)
    total = 0.24 * len(lines) + 0.2 + sum(len(names) * row + 0.62 for names in groups) + 0.4
    fig = Figure(figsize=(WIDTH, total), dpi=DPI)
    for number, line in enumerate(lines):
        fig.text(0.012, 1 - (0.18 + 0.24 * number) / total, line, size=12, weight="bold", va="center")
    y = total - 0.24 * len(lines) - 0.2
    for names in groups:
        height = len(names) * row
        y -= height
        box = (label / WIDTH, y / total, (WIDTH - label - 2.2) / WIDTH, height / total)
        ax = fig.add_axes(box)
        _repeats_axes(ax, names, measurements, allowed)
        y -= 0.62
    ax.set_xlabel("seconds since the injection", size=TEXT)
    handles = [
        Line2D([], [], color="black", lw=3.2, label="allowed by the protocol"),
        Line2D(
            [],
            [],
            marker="^",
            ms=7,
            mfc="white",
            mec=style.BLUE,
            mew=1.3,
            ls="none",
            label="measured, inside",
        ),
        Line2D([], [], marker="x", ms=7, mec=style.VERMILION, mew=2, ls="none", label="measured, outside"),
        Line2D([], [], marker="|", ms=13, mec="black", mew=1.5, ls="none", label="median"),
    ]
    fig.legend(handles=handles, loc="lower left", ncols=4, frameon=False, fontsize=TEXT - 0.5)
    return fig


def _value(time: Measured | float) -> float:
    return time.value if isinstance(time, Measured) else float(time)


def _inside(time: Measured | float, allowed: tuple[float, float]) -> bool:
    slack = time.resolution if isinstance(time, Measured) else 0.0
    return allowed[0] - slack <= _value(time) <= allowed[1] + slack


def _repeats_axes(
    ax: Axes,
    names: Sequence[str],
    measurements: Mapping[str, Sequence[Measured | float]],
    allowed: Mapping[str, tuple[float, float]],
) -> None:
    for y, name in enumerate(names):
        lo, hi = allowed[name]
        ax.plot([lo, hi], [y + 0.2, y + 0.2], color="black", lw=3.2, solid_capstyle="butt", zorder=2)
        for edge in (lo, hi):
            ax.plot([edge, edge], [y + 0.08, y + 0.32], color="black", lw=1.3, zorder=2)
        for time in measurements[name]:
            good = _inside(time, (lo, hi))
            ax.plot(
                [_value(time)], [y - 0.1], marker="^" if good else "x", ms=7, mfc="none", ls="none",
                mec=style.BLUE if good else style.VERMILION, mew=1.1 if good else 2, zorder=4,
            )  # fmt: skip
        values = [_value(time) for time in measurements[name]]
        text = "nothing measured"
        if values:
            middle = statistics.median(values)
            ax.plot([middle], [y - 0.1], marker="|", ms=15, mec="black", mew=1.5, zorder=5, ls="none")
            text = f"{lo:.3g}–{hi:.3g}; n {len(values)}, median {middle:.3g}"
        ax.annotate(
            text, (1.0, y), (8, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            va="center", size=TEXT - 0.5,
        )  # fmt: skip
    ax.set_yticks(range(len(names)), list(names))
    ax.set_ylim(len(names) - 0.5, -0.5)
    highest = max([allowed[n][1] for n in names] + [_value(t) for n in names for t in measurements[n]])
    ax.set_xlim(0, highest * 1.06)
    ax.tick_params(labelsize=TEXT, left=False)
    ax.grid(axis="x", color="#DDDDDD", lw=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
