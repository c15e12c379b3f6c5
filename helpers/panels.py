"""The parts of a timeline: the faults' strip, the lanes with their brackets, the latency.

Each function draws into one matplotlib axes. `zero` is the run's second that the axis calls 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from helpers import style
from helpers.cases import Case
from helpers.metrics import asked
from helpers.records import Records
from helpers.style import Drawing, Look
from helpers.timeline import Lane
from helpers.verdict import Finding

BAR, ZONE, HEADING = 0.62, 0.52, 0.42  # heights: a lane's bar, the room for a bracket, a group's heading
BESIDE = 0.12  # from a bracket's bar up to the diamond, down to the triangle: neither hides the other
TEXT = 9.5  # points: what is smaller does not survive a figure at half width
INK = "#222222"
#: How much longer than the recording an axis may be, as a share of it, so that a bracket is seen to its end.
BEYOND = 0.3


@dataclass
class Rows:
    """Where everything is: the middle of each lane's bar, and the brackets below it."""

    lanes: list[Lane]
    middle: dict[Lane, float] = field(default_factory=dict)
    headings: dict[int, float] = field(default_factory=dict)
    brackets: dict[int, float] = field(default_factory=dict)  # by position in the findings
    height: float = 0.0


def plan_rows(lanes: Sequence[Lane], findings: Sequence[Finding]) -> Rows:
    """Return the layout of the lanes from top to bottom, in units of a row."""
    rows = Rows(sorted(lanes, key=style.group))
    y, shown = 0.0, -1
    for lane in rows.lanes:
        if style.group(lane) != shown:
            shown = style.group(lane)
            y += 0.16 if rows.headings else 0.0
            rows.headings[shown] = y + HEADING / 2
            y += HEADING
        rows.middle[lane] = y + BAR / 2 + 0.05
        y += BAR + 0.14
        for position, finding in enumerate(findings):
            if same(lane, finding.lane) and drawn(finding) and position not in rows.brackets:
                rows.brackets[position] = y + ZONE / 2 - 0.09
                y += ZONE
    rows.height = y
    return rows


def same(lane: Lane, other: Lane | None) -> bool:
    """Return whether two lanes are about the same thing, whoever was asked."""
    if other is None:
        return False
    return (lane.source, lane.target, lane.check) == (other.source, other.target, other.check)


def drawn(finding: Finding) -> bool:
    """Return whether a finding is a time that a bracket can show."""
    return not finding.quantity.counts and (finding.allowed is not None or finding.measured is not None)


def width(text: str, size: float = TEXT) -> float:
    """Return the width of a text in inches."""
    if not text:
        return 0.0
    return float(TextPath((0, 0), text, size=size, prop=FontProperties()).get_extents().width) / 72 * 1.03


def end(findings: Sequence[Finding], first: float, last: float) -> float:
    """Return where the time axis of samples from `first` to `last` ends: a bracket may be a little longer."""
    if math.isnan(last):
        return 1.0  # nothing was recorded
    ends = [last]
    for finding in findings:
        if drawn(finding) and finding.allowed is not None:
            since = finding.measured.since if finding.measured else math.nan
            ends.append((finding.case.begin if math.isnan(since) else since) + finding.allowed[1])
    return max(each for each in ends if each <= last + BEYOND * (last - first)) + 0.005 * (last - first)


def per_inch(ax: Axes) -> float:
    """Return how many of the axis' seconds one inch is."""
    figure = ax.get_figure()
    assert isinstance(figure, Figure)
    lo, hi = ax.get_xlim()
    return (hi - lo) / (ax.get_position().width * figure.get_figwidth())


def shade(ax: Axes, cases: Sequence[Case], zero: float) -> None:
    """Shade the time of each fault, with a solid line where it begins and a dashed one at the heal."""
    for case in cases:
        ax.axvspan(case.begin - zero, case.last_broken - zero, color="#EEEEEE", zorder=0, lw=0)
        ax.axvline(case.begin - zero, color=INK, lw=1.1, zorder=4)
        if not math.isnan(case.heal):
            ax.axvline(case.heal - zero, color=INK, lw=1.0, ls=(0, (4, 3)), zorder=4)


def strip(ax: Axes, records: Records, cases: Sequence[Case], zero: float) -> None:
    """Draw one bar per fault, with its name in it or beside it, and the remarks."""
    second = per_inch(ax)
    lo, hi = ax.get_xlim()
    for case in cases:
        drawing = Drawing.of(case.params, case.label)
        begin, end = case.begin - zero, case.last_broken - zero
        ax.barh(
            0, end - begin, left=begin, height=0.9, color=drawing.color, hatch=drawing.hatch,
            edgecolor="#777777", lw=0.8, zorder=2,
        )  # fmt: skip
        fits = width(drawing.label) * second < end - begin - 0.12 * second
        beside = {"facecolor": drawing.color if fits else "white", "edgecolor": "none", "pad": 1.2}
        after = end + width(drawing.label) * second < hi
        x = begin + 0.07 * second if fits else end + 0.07 * second if after else begin - 0.07 * second
        side = "left" if fits or after else "right"
        ax.text(x, 0, drawing.label, ha=side, va="center", size=TEXT, zorder=5, bbox=beside)
        healed = "healed"
        if fits and not math.isnan(case.heal) and end + (width(healed) + 0.15) * second < hi:
            ax.text(end + 0.07 * second, 0, healed, va="center", size=TEXT)
    notes = records.events[records.events["phase"] == "note"]
    for t, message in zip(notes["t_begin"], notes["message"], strict=True):
        ax.axvline(float(t) - zero, color=INK, lw=0.8, ls=":")
        size = TEXT - 1.5
        fits = float(t) - zero + (width(str(message), size) + 0.05) * second < hi
        x = float(t) - zero + (0.05 if fits else -0.05) * second
        side = "left" if fits else "right"
        ax.text(x, -0.55, str(message), ha=side, va="bottom", size=size)  # above the bar
    ax.set_ylim(0.75, -0.75)
    ax.set_yticks([0], ["fault"])
    ax.tick_params(left=False, bottom=False, labelbottom=False)
    ax.spines[:].set_visible(False)
    ax.set_xlim(lo, hi)


def lanes_axes(ax: Axes, spans: pd.DataFrame, rows: Rows, zero: float) -> list[Look]:
    """Draw the lanes' spans and names; return the looks that occur.

    The edge between two spans is a slanted line over the time in which the change lies.
    """
    used: dict[str, Look] = {}
    shapes: dict[str, list[np.ndarray]] = {}
    second = per_inch(ax)
    lo, hi = ax.get_xlim()
    for lane in rows.lanes:
        y = rows.middle[lane]
        top, bottom = y - BAR / 2, y + BAR / 2
        for appearance, said, (t0_lo, t0_hi, t1_lo, t1_hi) in _alike(lane, lane.of(spans)):
            used[appearance.name] = appearance
            corners = [(t0_lo, bottom), (t0_hi, top), (t1_hi, top), (t1_lo, bottom)]
            shapes.setdefault(appearance.name, []).append(np.array(corners) - (zero, 0))
            begin, end = max(t0_hi - zero, lo), min(t1_lo - zero, hi)
            room = (end - begin) / second - 0.12
            text = next((w for w in said if w and width(w) < room), "")
            if text:
                box = {"facecolor": appearance.face, "edgecolor": "none", "pad": 1.0}
                ax.text(
                    begin + 0.06 * second, y, text, va="center", size=TEXT, color=appearance.text,
                    zorder=6, bbox=box,
                )  # fmt: skip
    for name, polygons in shapes.items():
        appearance = used[name]
        ax.add_collection(
            PolyCollection(
                polygons, facecolor=appearance.face, hatch=appearance.hatch,
                edgecolor="#00000088" if appearance.hatch else "white",
                linewidth=0.35 if appearance.hatch else 0.8, zorder=3 if appearance.hatch else 2,
            )
        )  # fmt: skip
    for which, y in rows.headings.items():
        ax.annotate(
            style.GROUPS[which], (0, y), (-1.66 * 72, 0), xycoords=("axes fraction", "data"), va="center",
            textcoords="offset points", size=TEXT, color="#444444", style="italic",
        )  # fmt: skip
    ax.set_ylim(rows.height, 0)
    ax.set_yticks([rows.middle[lane] for lane in rows.lanes], [style.title(lane) for lane in rows.lanes])
    ax.tick_params(axis="y", left=False)
    ax.spines[["top", "left", "right"]].set_visible(False)
    return list(used.values())


def _alike(
    lane: Lane, spans: pd.DataFrame
) -> list[tuple[Look, tuple[str, ...], tuple[float, float, float, float]]]:
    """Return what is drawn of a lane: neighbours that look the same and say the same words are one."""
    found: list[tuple[Look, tuple[str, ...], tuple[float, float, float, float]]] = []
    for state, raw, *times in spans[["state", "raw", "t0_lo", "t0_hi", "t1_lo", "t1_hi"]].itertuples(
        index=False, name=None
    ):
        here = (style.look(lane, state, raw), style.words(lane, state, raw))
        if found and found[-1][:2] == here and found[-1][2][3] >= times[0]:
            found[-1] = (*here, (*found[-1][2][:2], *times[2:]))
        else:
            found.append((*here, (times[0], times[1], times[2], times[3])))
    return found


def shares(
    ax: Axes, records: Records, spans: pd.DataFrame, rows: Rows, cases: Sequence[Case], zero: float
) -> None:
    """Say in a lane of users how many of the requests failed where good and bad alternate."""
    second = per_inch(ax)
    for lane in rows.lanes:
        if style.group(lane) != 0:
            continue
        own = lane.of(spans)
        for case in cases:
            bad = own[(own["state"] == "down") & (own["t1_hi"] >= case.begin) & (own["t0_hi"] <= case.end)]
            begin, end = bad["t0_hi"].min(), bad["t1_lo"].max()
            between = own[(own["state"] == "up") & (own["t0_hi"] > begin) & (own["t1_lo"] < end)]
            if len(between) < 2:
                continue
            samples = asked(lane.of(records.samples))
            samples = samples[(samples["sent"] >= begin) & (samples["sent"] <= end)]
            text = f"{(samples['state'] != 'up').sum()} of {len(samples)} fail"
            x = (begin + end) / 2 - zero
            inside = width(text) * second < end - begin
            ax.text(
                x if inside else end - zero + 0.1 * second, rows.middle[lane], text, va="center",
                ha="center" if inside else "left", size=TEXT, zorder=7,
                bbox={"facecolor": "white" if inside else style.SKY, "edgecolor": "none", "pad": 1.2},
            )  # fmt: skip


def brackets(ax: Axes, findings: Sequence[Finding], rows: Rows, zero: float) -> set[str]:
    """Draw allowed (bar), measured (triangle) and predicted (diamond); return which of them occur."""
    used = set()
    second = per_inch(ax)
    lo, hi = ax.get_xlim()
    for position, y in rows.brackets.items():
        finding = findings[position]
        case, measured, allowed = finding.case, finding.measured, finding.allowed
        since = measured.since if measured else math.nan
        start = (case.begin if math.isnan(since) else since) - zero
        ends, text = [], ""
        if allowed is not None:
            used.add("allowed")
            left, right = start + allowed[0], start + max(allowed[1], allowed[0] + 0.02 * second)
            ax.plot([left, min(right, hi)], [y, y], color="black", lw=3.2, solid_capstyle="butt", zorder=7)
            for edge in (left, right):
                if lo <= edge <= hi:
                    ax.plot([edge, edge], [y - 0.13, y + 0.13], color="black", lw=1.3, zorder=7)
            if right > hi:  # it goes on beyond what was recorded
                ax.plot([hi], [y], marker=">", ms=7, color="black", zorder=7, ls="none", clip_on=False)
            ends += [left, min(right, hi)]
            text = f"allowed {allowed[0]:.3g}–{allowed[1]:.3g} s"
        if measured is not None:
            used.add("measured")
            ax.plot(
                [start + measured.value], [y + BESIDE], marker="^", ms=8.5, mfc="white", mec="black", mew=1.4,
                zorder=9, ls="none", clip_on=False,
            )  # fmt: skip
            ends.append(start + measured.value)
            text = f"{finding.quantity.short} {measured} s" + (f", {text}" if text else "")
        diamond = math.nan
        if finding.prediction is not None:
            used.add("predicted")
            diamond = min(max(start + finding.prediction, lo), hi)
            ax.plot(
                [diamond], [y - BESIDE], marker="D", ms=6.5, mfc=style.PURPLE, mec="black",
                mew=0.8, zorder=8, ls="none", clip_on=False,
            )  # fmt: skip
        short = text.partition(",")[0]
        spot = place([text, short], ends, diamond, (lo, hi), second)
        if spot is not None:
            x, text = spot
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.9}
            ax.text(x, y, text, va="center", size=TEXT - 0.5, zorder=8, bbox=box)
    return used


def place(
    texts: Sequence[str], ends: Sequence[float], diamond: float, limits: tuple[float, float], second: float
) -> tuple[float, str] | None:
    """Return where a bracket's text begins, and which one fits beside it, clear of the diamond."""
    gap = 0.14 * second
    right, left = max(ends), min(ends)
    beyond = [] if math.isnan(diamond) else [(max(right, diamond), 1), (min(left, diamond), -1)]
    sides = [(text, edge, way) for text in texts for edge, way in ((right, 1), (left, -1))]
    for text, edge, way in [*sides, *((texts[0], edge, way) for edge, way in beyond)]:
        room = width(text, TEXT - 0.5) * second
        x = edge + gap if way > 0 else edge - gap - room
        clear = math.isnan(diamond) or not x - gap < diamond < x + room + gap
        if limits[0] <= x and x + room <= limits[1] and clear:
            return x, text
    return None


#: marker and colour of the good answers, marker of the failed ones; never the colour alone
_POINTS = {
    "todo": (".", style.BLUE, "x"),
    "retry": ("o", style.PURPLE, "+"),
    "secret": ("^", style.ORANGE, "+"),
    "credential": ("s", style.PURPLE, "1"),
}


def latency(ax: Axes, records: Records, lanes: Sequence[Lane], zero: float) -> None:
    """Draw what each request of a user took, log scale; failures as crosses, drawn last."""
    lo, hi = ax.get_xlim()
    seen = []
    for lane in lanes:
        rows = lane.of(records.samples)
        rows = rows[rows["done"].notna() & (rows["state"] != "unknown")]
        took = ((rows["done"] - rows["sent"]) * 1000).clip(lower=0.1)
        kind = "retry" if lane.check == "rw-retry" else lane.source
        good, (dot, color, cross) = rows["state"] == "up", _POINTS[kind]
        name = "with one retry" if kind == "retry" else kind
        size = 16 if dot == "." else 9
        ax.scatter(
            rows["sent"][good] - zero, took[good], marker=dot, s=size, color=color, lw=0,
            label=f"{name}, ok", zorder=3,
        )  # fmt: skip
        if (~good).any():
            ax.scatter(
                rows["sent"][~good] - zero, took[~good], marker=cross, s=22, color=style.VERMILION, lw=1.0,
                label=f"{name}, failed", zorder=5,
            )  # fmt: skip
        seen.append(took)
    ax.set_yscale("log")
    values = pd.concat(seen) if seen else pd.Series([1.0, 10.0])
    low, high = max(0.1, float(values.min())) / 1.6, max(20.0, float(values.max())) * 1.8
    ax.set_ylim(low, high)
    steps = (0.1, 0.3, 1, 3, 10, 30, 100) if high / low < 300 else (0.1, 1, 10, 100, 1000, 10000)
    ticks = [t for t in steps if low <= t <= high]
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    ax.set_ylabel("latency, ms")
    ax.grid(axis="y", color="#DDDDDD", lw=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_xlim(lo, hi)
