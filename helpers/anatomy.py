"""A timeline taken apart: the figure of a run with numbered marks, and what each of them says."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers import style
from helpers.errors import LabError
from helpers.figures import LEFT, WIDTH, timeline
from helpers.panels import TEXT, Rows
from helpers.records import Records
from helpers.verdict import Finding


def anatomy(records: Records) -> Figure:
    """Return the timeline of a run with numbered marks and their explanation below it.

    Raises `LabError` for a run without a measured time: there is nothing to explain.
    """
    drawn = timeline(records)
    if not drawn.rows.brackets or not drawn.cases:
        raise LabError("A reading guide needs a run with a fault and a measured time.")
    fig, (strip, body, below) = drawn.figure, drawn.figure.axes[:3]
    marks: list[tuple[str, float, float]] = []  # text, and the place in inches from the lower left corner

    def at(ax: Axes, x: float, y: float) -> tuple[float, float]:
        place = ax.transData.transform((x, y)) / fig.dpi
        return float(place[0]), float(place[1])

    height = fig.get_figheight()
    case = drawn.cases[0]
    marks.append(
        ("The result in a sentence: what users felt, and what is allowed.", WIDTH - 0.35, height - 0.2)
    )
    marks.append(
        (
            "The fault, from its injection (solid line) to the heal (dashed); the shade spans it.",
            at(strip, case.begin, 0.0)[0] - 0.14,
            at(strip, case.begin, 0.0)[1],
        )
    )
    lanes = drawn.rows.lanes
    first = lanes[0]
    marks.append(
        (
            "Requests that a user makes, eight a second. A slanted edge lies between two answers: as wide as"
            " the time in which the change is known to lie.",
            0.1,
            at(body, 0, drawn.rows.middle[first])[1],
        )
    )
    for which, text in (
        (1, "What an agent of Consul says: what clients find. It is told, it does not know."),
        (2, "What is so: each program asked directly, and the operating system."),
    ):
        lane = next((lane for lane in lanes if style.group(lane) == which), None)
        if lane is not None:
            marks.append((text, 0.1, at(body, 0, drawn.rows.middle[lane])[1]))
    marks += _bracket_marks(drawn.findings, drawn.rows, lambda x, y: at(body, x, y))
    marks.append(
        (
            "What each request took, on a scale of powers of ten. Crosses failed: quickly when refused, at"
            " their time-out when nobody answered.",
            LEFT + 0.16,
            at(below, 0, below.get_ylim()[1])[1] - 0.16,
        )
    )
    return _with_key(fig, marks)


def _bracket_marks(
    findings: list[Finding], rows: Rows, at: Callable[[float, float], tuple[float, float]]
) -> list[tuple[str, float, float]]:
    position = max(rows.brackets, key=lambda p: findings[p].prediction is not None)
    finding, y = findings[position], rows.brackets[position]
    marks = []
    since = finding.measured.since if finding.measured else finding.case.begin
    if finding.allowed is not None:
        edge = since + finding.allowed[0]
        x, height = at(edge, y)
        marks.append(
            ("Black bar: what the protocols allow, by the arithmetic in the text.", x - 0.14, height)
        )
    # each number on the side of its sign that is away from the other sign
    late = finding.measured is not None and finding.measured.value >= (finding.prediction or 0.0)
    beside = 0.17 if late else -0.17
    if finding.measured is not None:
        x, height = at(since + finding.measured.value, y)
        text = "Triangle: what this run measured. On the bar: held. Beside it: broken."
        marks.append((text, x + beside, height))
    if finding.prediction is not None:
        x, height = at(since + finding.prediction, y)
        marks.append(("Diamond: what you predicted.", x - beside, height))
    return marks


def _with_key(fig: Figure, marks: list[tuple[str, float, float]]) -> Figure:
    """Make room below, number the marks, and write down what they say."""
    lines = [textwrap.wrap(text, 104) for text, _, _ in marks]
    extra = 0.24 * sum(map(len, lines)) + 0.2
    old = fig.get_figheight()
    new = old + extra
    for ax in fig.axes:
        box = ax.get_position()
        ax.set_position((box.x0, (box.y0 * old + extra) / new, box.width, box.height * old / new))
    for text in fig.texts:
        text.set_y((text.get_position()[1] * old + extra) / new)
    for legend in fig.legends:
        legend.set_bbox_to_anchor((0.005, extra / new))
    fig.set_figheight(new)
    circle = {"boxstyle": "circle,pad=0.18", "facecolor": "black", "edgecolor": "white", "lw": 1.2}
    for number, (_, x, y) in enumerate(marks, start=1):
        fig.text(
            x / WIDTH, (y + extra) / new, str(number), color="white", size=8.5, weight="bold", ha="center",
            va="center", bbox=circle, zorder=50,
        )  # fmt: skip
    y = extra - 0.12
    for number, wrapped in enumerate(lines, start=1):
        fig.text(
            0.2 / WIDTH, y / new, str(number), color="white", size=8, weight="bold", ha="center", va="center",
            bbox=circle,
        )  # fmt: skip
        for line in wrapped:
            fig.text(0.42 / WIDTH, y / new, line, size=TEXT, va="center")
            y -= 0.24
    return fig
