"""Figures of a run: the timeline, two runs compared, repeats on the allowed interval, one taken apart.

    fig = figure(records)          # a matplotlib figure; its title states the result
    show(fig, alt_text(records))   # displayed in a notebook, with alternative text

Black bar: what the protocols allow. Triangle: what was measured. Diamond: what the reader predicted.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image

from helpers import panels, style
from helpers.cases import USER_LANE, Case, cases
from helpers.metrics import Measured
from helpers.panels import TEXT
from helpers.records import Records
from helpers.style import Look
from helpers.timeline import LANE, Lane, lanes, spans
from helpers.verdict import Bounds, Finding, findings

WIDTH = 9.6  # inches
DPI = 110
LEFT, RIGHT = 1.75, 0.25  # inches beside the time axis: the lanes' names, and the last tick's label
LIMIT = 100_000  # bytes of a figure in a notebook
ROW = 0.46  # inches of one unit of `panels.Rows`


def figure(
    records: Records,
    bounds: Bounds | None = None,
    prediction: Mapping[str, float] | None = None,
    lanes: Sequence[Lane] | None = None,
) -> Figure:
    """Return the timeline of a run.

    `bounds` (name to interval) and `prediction` replace what the run itself knows, `lanes` replaces
    the choice of `choose`. Times are seconds since the start of the run.
    """
    return timeline(records, bounds, prediction, lanes).figure


@dataclass
class Timeline:
    """A drawn timeline and where its parts are; its axes are the strip, the lanes, the latency."""

    figure: Figure
    rows: panels.Rows
    findings: list[Finding]
    cases: list[Case]


def timeline(
    records: Records,
    bounds: Bounds | None = None,
    prediction: Mapping[str, float] | None = None,
    lanes: Sequence[Lane] | None = None,
) -> Timeline:
    """Return what `figure` returns, together with the places of its parts."""
    hit = cases(records)
    found = findings(records, bounds, prediction, hit)
    chosen = list(lanes) if lanes is not None else choose(records, hit, found)
    rows = panels.plan_rows(chosen, found)
    return Timeline(_drawn(records, hit, found, rows), rows, found, hit)


def choose(records: Records, hit: Sequence[Case], found: Sequence[Finding] = ()) -> list[Lane]:
    """Return the lanes that tell the story of a run: those of its faults, and whatever changed for users.

    One agent speaks for the catalog: the one that was there, not the one that was hit.
    """
    known = _known(records)
    services = {case.service for case in hit}
    nodes = {node for case in hit for node in case.nodes}
    changed = _changed(records)
    failed = set(lanes(records.samples[records.samples["state"] == "down"]))
    vantage = _vantage(records, nodes)
    wanted: list[Lane] = [USER_LANE["todo"], Lane("todo", "host", "todo", "rw-retry")]
    if services & {"vault", "consul"} or USER_LANE["vault"] in changed:
        wanted.append(USER_LANE["vault"])
    about = services & {"todo", "vault", "mysql"} or {"vault"}
    for lane in known:
        if lane.source == "consul_catalog" and lane.vantage == vantage:
            own = lane.check in about or (lane.check == "todo" and services & {"mysql"})
            if own or (lane.check == "serfHealth" and lane in failed):
                wanted.append(lane)
        elif lane.source == "consul_leader" and "consul" in services and lane.vantage == vantage:
            wanted.append(lane)
    names = {"vault": "active.vault", "consul": "active.vault"}
    asked = {names.get(service, service) for service in services}
    wanted += [k for k in known if k.source == "dns" and k.target in asked and k in changed]
    if services & {"vault", "consul"}:
        wanted += [lane for lane in known if lane.source == "vault"]
    # Without discovery the instances themselves are what a client that knows an address still reaches.
    direct = {k.target for k in known if k.source == "todo"} if "consul" in services else nodes
    if services & {"todo", "consul"}:
        wanted += [k for k in known if k.source == "todo" and k.check == "rw" and k.target in direct]
    gone = [lane for lane in known if lane.source == "process" and lane in changed]
    spoken = {lane.target for lane in wanted if lane.source == "vault"}
    wanted += [k for k in gone if k.target.partition(":")[0] in nodes - spoken or k.target.endswith("agent")]
    for each in found:
        drawn = each.lane is not None and panels.drawn(each)
        if drawn and not any(panels.same(lane, each.lane) for lane in wanted):
            wanted += [each.lane] if each.lane else []
    unique = [lane for lane in dict.fromkeys(wanted) if lane in known]
    return sorted(unique, key=style.group)


def _known(records: Records) -> list[Lane]:
    return sorted(
        lanes(records.samples), key=lambda lane: (lane.source, lane.target, lane.check, lane.vantage)
    )


def _changed(records: Records) -> set[Lane]:
    """The lanes that did not say one thing all the time; what the recorder itself missed says nothing."""
    samples = records.samples
    samples = samples[~samples["raw"].isin(["missed", "ended"])]
    said = samples.groupby(LANE, observed=True)[["state", "raw"]].nunique()
    return {Lane(*map(str, lane)) for lane in said[(said["state"] > 1) | (said["raw"] > 1)].index}


def _vantage(records: Records, nodes: set[str]) -> str:
    samples = records.samples
    catalog = samples[samples["source"] == "consul_catalog"]
    known = list(dict.fromkeys(catalog["vantage"].astype(str)))
    apart = [name for name in known if name not in nodes and name != "consul"]
    return next(iter(apart + known), "")


# ---- the timeline ----------------------------------------------------------------------


def _drawn(records: Records, hit: Sequence[Case], found: Sequence[Finding], rows: panels.Rows) -> Figure:
    title = textwrap.wrap(headline(records, found), 88)
    tag = recorded(records)
    head = 0.24 * len(title) + (0.22 if tag else 0.0) + 0.12
    heights = [0.36, rows.height * ROW, 1.35]
    gaps, foot = [0.10, 0.16], 0.98
    total = head + sum(heights) + sum(gaps) + foot
    fig = Figure(figsize=(WIDTH, total), dpi=DPI)
    axes: list[Axes] = []
    y = total - head
    for position, height in enumerate(heights):
        y -= height
        box = (LEFT / WIDTH, y / total, (WIDTH - LEFT - RIGHT) / WIDTH, height / total)
        axes.append(fig.add_axes(box))
        y -= gaps[position] if position < len(gaps) else 0
    samples = records.samples["sent"]
    first, last = float(samples.min()), float(samples.max())
    for ax in axes:
        ax.set_xlim(first, panels.end(found, first, last))
        ax.tick_params(labelsize=TEXT)
    strip, body, below = axes
    panels.strip(strip, records, hit, 0.0)
    for ax in (body, below):
        panels.shade(ax, hit, 0.0)
    table = spans(records.samples, rows.lanes)
    looks = panels.lanes_axes(body, table, rows, 0.0)
    panels.shares(body, records, table, rows, hit, 0.0)
    marks = panels.brackets(body, found, rows, 0.0)
    body.tick_params(axis="x", labelbottom=False)
    users = [
        lane
        for lane in rows.lanes
        if style.group(lane) == 0 and lane.check in ("rw", "rw-retry", "write", "creds")
    ]
    users = users or [USER_LANE["todo"]]
    panels.latency(below, records, users, 0.0)
    below.set_ylabel("latency, ms", size=TEXT)
    below.set_xlabel("seconds since the start of the run", size=TEXT)
    _heading(fig, title, tag, total)
    legend(fig, looks, marks, below, yours=not tag)
    return fig


def _heading(fig: Figure, title: Sequence[str], tag: str, total: float) -> None:
    for number, line in enumerate(title):
        fig.text(0.012, 1 - (0.17 + 0.24 * number) / total, line, size=12, weight="bold", va="center")
    if tag:
        y = 1 - (0.16 + 0.24 * len(title)) / total
        box = {"facecolor": "white", "edgecolor": "black", "pad": 2.0, "lw": 0.8}
        fig.text(0.016, y, tag, size=TEXT - 0.5, va="center", bbox=box)


def legend(
    fig: Figure, looks: Sequence[Look], marks: set[str], below: Axes | None = None, yours: bool = True
) -> None:
    """Explain below a figure what occurs in it: states, marks, and the points of the latency axes.

    `yours`: no run in it is a recorded one, whose prediction somebody else may have made.
    """
    order = [style.UP, style.LEADS, style.DEGRADED, style.DOWN, style.UNKNOWN]
    handles: list[Any] = [
        Patch(facecolor=each.face, hatch=each.hatch, edgecolor="#00000088", lw=0.4, label=each.name)
        for each in order
        if each in looks
    ]
    if "allowed" in marks:
        handles.append(Line2D([], [], color="black", lw=3.2, label="allowed by the protocol"))
    if "measured" in marks:
        handles.append(
            Line2D([], [], marker="^", ms=8.5, mfc="white", mec="black", mew=1.4, ls="none", label="measured")
        )
    if "predicted" in marks:
        handles.append(
            Line2D(
                [], [], marker="D", ms=6.5, mfc=style.PURPLE, mec="black", mew=0.8, ls="none",
                label="your prediction" if yours else "prediction",
            )
        )  # fmt: skip
    if below is not None:
        handles += below.get_legend_handles_labels()[0]
    fig.legend(
        handles=handles, loc="lower left", ncols=min(6, max(4, (len(handles) + 1) // 2)), frameon=False,
        fontsize=TEXT - 0.5, bbox_to_anchor=(0.005, 0.0), columnspacing=1.3, handletextpad=0.5, borderpad=0.2,
    )  # fmt: skip


def recorded(records: Records) -> str:
    """Return the label of a run that was not made here and now: `recorded 2026-03-01 on …`; else empty.

    Set `info["recorded"]` to true on stored reference runs; `started` and `host` say when and on what.
    """
    if not records.info.get("recorded"):
        return ""
    host = records.info.get("host") or {}
    kind = ", ".join(
        part
        for part in (
            str(host.get("system", "")),
            f"{host['processors']} processors" if host.get("processors") else "",
            f"driver {records.info['driver']}" if records.info.get("driver") else "",
        )
        if part
    )
    day = str(records.info.get("started", ""))[:10] or "date unknown"
    return f"recorded {day}" + (f" on {kind}" if kind else "") + ": not your run"


#: Which result the title names: what users felt, else the leader, else detection.
_FIRST = (
    "todo_fails",
    "todo_lost",
    "outage",
    "leader_again",
    "leader",
    "secret_again",
    "todo_again",
    "window",
    "todos_detected",
    "detected",
    "lost",
)


def headline(records: Records, found: Sequence[Finding]) -> str:
    """Return the sentence that states the result of a run."""
    name = str(records.info.get("title") or (found[0].case.label if found else "a quiet run"))
    nodes = set(records.samples["target"].astype(str).str.partition(":")[0])
    if name.split()[0].rstrip(":").removesuffix("'s") not in nodes:  # a node's name stays as it is
        name = name[:1].upper() + name[1:]
    ranked = sorted(
        (each for each in found if each.quantity.name in _FIRST), key=lambda e: _FIRST.index(e.quantity.name)
    )
    best = next((each for each in ranked if each.allowed is not None), next(iter(ranked), None))
    if best is None:
        return name
    lost = next((each for each in ranked if each.quantity.name == "lost" and each is not best), None)
    return f"{name}: {result(best)}" + (f", {lost.answer} requests lost" if lost and lost.measured else "")


def result(finding: Finding) -> str:
    """Return one finding as part of a sentence: `no secret for 40.1 s (allowed 37.5–45.8)`."""
    measured, allowed = finding.measured, finding.allowed
    limits = "" if allowed is None else f" (allowed {_limits(allowed)})"
    if measured is None:
        return f"not enough data, {finding.answer.reason}" if not isinstance(finding.answer, Measured) else ""
    users = {"todo": "no todo", "mysql": "no todo"}.get(finding.case.service, "no secret")
    said = {
        "outage": f"{users} for {measured} s",
        "window": f"requests fail for {measured} s",
        "detected": f"Consul notices after {measured} s",
        "todos_detected": f"Consul names no todo after {measured} s",
        "leader": f"a new leader after {measured} s",
        "leader_again": f"a leader again {measured} s after the heal",
        "secret_again": f"secrets again {measured} s after the heal",
        "todo_again": f"todos again {measured} s after the heal",
        "lost": f"{measured} requests lost",
        "todo_fails": f"the first todo fails after {measured} s",
        "todo_lost": f"{measured} todos lost",
    }.get(finding.quantity.name, f"{finding.quantity.words} {measured}")
    return said + limits


def _limits(allowed: tuple[float, float]) -> str:
    return f"{allowed[0]:.3g}–{allowed[1]:.3g}" if allowed[0] != allowed[1] else f"{allowed[0]:.3g}"


def alt_text(
    records: Records, bounds: Bounds | None = None, prediction: Mapping[str, float] | None = None
) -> str:
    """Return the figure in words: the result, every time with its interval, and the verdicts."""
    found = findings(records, bounds, prediction)
    parts = [f"Timeline. {headline(records, found)}."]
    if tag := recorded(records):
        parts.append(f"{tag[:1].upper()}{tag[1:]}.")
    for each in found:
        unit = "" if each.quantity.counts else " s"
        text = f"{each.quantity.words}: " + (f"{each.answer}{unit}" if each.measured else "no number")
        text += f", allowed {_limits(each.allowed)}{unit}" if each.allowed is not None else ""
        text += f", predicted {each.prediction:g}{unit}" if each.prediction is not None else ""
        parts.append(text + (f", {each.verdict}." if each.verdict else "."))
    return " ".join(parts)


# ---- output ----------------------------------------------------------------------------


def png(fig: Figure) -> bytes:
    """Return a figure as PNG of at most `LIMIT` bytes; fewer colours if it needs them."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=DPI)
    image = Image.open(buffer).convert("RGB")
    for colors in (256, 128, 64, 32, 16):
        small = io.BytesIO()
        image.quantize(colors, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
            small, format="png", optimize=True
        )
        if small.tell() < LIMIT:
            break
    return small.getvalue()


def show(fig: Figure, alt: str) -> None:
    """Display a figure in a notebook, with its alternative text in the output's metadata."""
    from IPython.display import display

    data = {"image/png": png(fig), "text/plain": alt}
    display(data, metadata={"image/png": {"alt": alt}}, raw=True)
