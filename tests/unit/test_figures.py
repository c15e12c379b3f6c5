"""Figures: what they say, that it fits, that no fault kind is known, that it is small and fast."""

from __future__ import annotations

import io
import time

import made_up
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from helpers import panels, reference, style
from helpers.anatomy import anatomy
from helpers.comparison import compare, repeats
from helpers.errors import LabError
from helpers.figures import LIMIT, alt_text, figure, headline, png, recorded, show, timeline
from helpers.metrics import Measured
from helpers.records import Records
from helpers.timeline import Lane
from helpers.verdict import findings

DRAWN = {
    **{name: lambda story=story: figure(story()) for name, story in made_up.STORIES.items()},
    "compare": lambda: compare(made_up.leader_killed(), made_up.leader_killed(44.0)),
    "anatomy": lambda: anatomy(made_up.leader_killed()),
    "repeats": lambda: repeats(
        {"a todo killed": [1.0, 3.2], "leader": [40.0, 50.0]},
        {"a todo killed": (0, 5.5), "leader": (37.5, 45.8)},
    ),
}


def shown(fig: Figure) -> list[Text]:
    """All texts but the labels of ticks beyond an axis' end, which matplotlib keeps and does not draw."""
    beyond = {
        id(tick.label1)
        for ax in fig.axes
        for tick in ax.xaxis.get_major_ticks()
        if not ax.get_xlim()[0] <= tick.get_loc() <= ax.get_xlim()[1]
    }
    texts = fig.findobj(Text)
    return [t for t in texts if t.get_text().strip() and t.get_visible() and id(t) not in beyond]


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_small_and_nothing_clipped(draw: object) -> None:
    fig = draw()  # type: ignore[operator]
    data = png(fig)
    assert len(data) < LIMIT
    width, height = Image.open(io.BytesIO(data)).size
    assert width < 1100
    for text in shown(fig):
        box = text.get_window_extent()
        inside = box.x0 >= -2 and box.x1 <= width + 2 and box.y0 >= -2 and box.y1 <= height + 2
        assert inside, text.get_text()


@pytest.mark.parametrize("story", made_up.STORIES.values(), ids=made_up.STORIES)
def test_no_two_texts_of_the_lanes_overlap(story: object) -> None:
    fig = figure(story())  # type: ignore[operator]
    fig.canvas.draw()  # type: ignore[attr-defined]
    boxes = [(text.get_text(), text.get_window_extent()) for text in fig.axes[1].texts]
    for position, (one, a) in enumerate(boxes):
        for other, b in boxes[position + 1 :]:
            apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 3 or b.y1 <= a.y0 + 3
            assert apart, (one, other)


def test_the_title_states_the_result() -> None:
    records = made_up.leader_killed()
    title = headline(records, findings(records))
    assert title == "The Vault leader is killed: no secret for 40.2 s (allowed 37.5–45.8)"
    assert any(text.get_text() == title for text in shown(figure(records)))


def test_bracket_triangle_and_diamond_stand_where_they_should() -> None:
    drawn = timeline(made_up.leader_killed(failover=40.1))
    body = drawn.figure.axes[1]
    triangles = [line.get_xdata()[0] for line in body.lines if line.get_marker() == "^"]
    diamonds = [line.get_xdata()[0] for line in body.lines if line.get_marker() == "D"]
    assert any(abs(x - 50.1) < 0.3 for x in triangles)
    assert len(diamonds) == 1
    assert abs(diamonds[0] - 40) < 0.3  # injected at 10, predicted 30
    bars = [line.get_xdata() for line in body.lines if line.get_linewidth() == 3.2]
    assert any(abs(lo - 47.5) < 0.3 and abs(hi - 55.8) < 0.3 for lo, hi in bars)


def test_no_state_by_colour_alone() -> None:
    looks = [style.UP, style.LEADS, style.DEGRADED, style.DOWN, style.UNKNOWN]
    bad = [look.hatch for look in looks if look.name in ("degraded", "down", "unknown")]
    assert all(bad)
    assert len(set(bad)) == 3
    greys = [
        Image.new("RGB", (1, 1), look.face).convert("L").getpixel((0, 0)) for look in (style.UP, style.LEADS)
    ]
    assert abs(int(greys[0]) - int(greys[1])) > 60  # type: ignore[arg-type]


def test_a_fault_brings_its_own_drawing() -> None:
    drawing = style.Drawing.of({"drawing": {"color": "#123456", "hatch": "xx", "label": "a new kind"}}, "x")
    assert drawing == style.Drawing("#123456", "xx", "a new kind")
    fig = figure(made_up.todo_paused())
    bar = fig.axes[0].patches[0]
    assert bar.get_hatch() == ".."


def test_one_agent_speaks_for_the_catalog() -> None:
    drawn = timeline(made_up.leader_killed())
    catalog = [lane for lane in drawn.rows.lanes if lane.source == "consul_catalog"]
    assert len({(lane.target, lane.check) for lane in catalog}) == len(catalog)


def test_lanes_can_be_chosen() -> None:
    lane = Lane("process", "host", "todo0:todo", "process")
    assert timeline(made_up.todo_killed(), lanes=[lane]).rows.lanes == [lane]


def test_unknown_is_drawn_as_unknown() -> None:
    names = {text.get_text() for text in figure(made_up.server_stopped()).legends[0].get_texts()}
    assert "unknown" in names
    assert "unknown" not in {text.get_text() for text in figure(made_up.todo_killed()).legends[0].get_texts()}


def test_replayed_data_says_so() -> None:
    records = made_up.todo_killed()
    assert recorded(records) == ""
    host = {"processors": 2, "system": "Linux"}
    records.info |= {"recorded": True, "started": "2026-03-01T10:00:00", "host": host}
    tag = recorded(records)
    assert "recorded 2026-03-01" in tag
    assert any(text.get_text() == tag for text in shown(figure(records)))
    assert "ecorded 2026-03-01" in alt_text(records)
    assert any(
        "recorded 2026-03-01" in text.get_text() for text in shown(compare(records, made_up.todo_killed()))
    )


def test_alt_text_says_what_the_figure_says() -> None:
    text = alt_text(made_up.leader_killed())
    for part in ("no secret for 40.2 s", "allowed 37.5–45.8 s", "predicted 30 s", "held"):
        assert part in text


def test_show_puts_the_alternative_text_beside_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}
    monkeypatch.setattr("IPython.display.display", lambda data, **more: seen.update(data=data, **more))
    show(figure(made_up.todo_killed()), "what to notice")
    assert seen["metadata"] == {"image/png": {"alt": "what to notice"}}
    assert seen["data"]["image/png"].startswith(b"\x89PNG")  # type: ignore[index]


def test_a_run_without_a_fault_is_drawn_and_cannot_be_compared() -> None:
    quiet = made_up.todo_killed()
    quiet = Records({"title": "nothing happens"}, quiet.samples, quiet.events.iloc[:0])
    assert figure(quiet).axes
    for refused in (lambda: compare(quiet, quiet), lambda: anatomy(quiet)):
        with pytest.raises(LabError):
            refused()


def test_repeats_counts_what_is_outside() -> None:
    fig = repeats({"leader": [Measured(45.9, 0.2, 1), 47.0]}, {"leader": (37.5, 45.8)})
    assert any(text.get_text().startswith("1 of 2") for text in shown(fig))
    with pytest.raises(LabError, match="no bound"):
        repeats({"leader": [1.0]}, {})


def test_eighty_seconds_of_twenty_probes_are_drawn_quickly() -> None:
    story = made_up.Story(80, "many probes")
    for number in range(20):
        story.polled("todo", f"todo{number}", "rw", 8, lambda t: made_up.ok("204"))
    story.polled("todo", "todo", "rw", 8, lambda t: made_up.refused() if 10 < t < 14 else made_up.ok("204"))
    story.event("inject", 10.0, fault="kill", target="todo0", bounds={"detected": [0, 5.5]})
    records = story.records()
    figure(records)  # fonts are loaded once
    begun = time.process_time()
    figure(records)
    # processor time: other work on the machine must not fail this
    assert time.process_time() - begun < 2.0


def test_two_runs_show_the_same_lanes_of_their_own_victims() -> None:
    drawn = compare(made_up.leader_killed(), made_up.leader_killed(failover=38.0))
    names = [[label.get_text() for label in ax.get_yticklabels()] for ax in drawn.axes]
    above, below = (each for each in names if "a secret is written" in each)
    assert above == below
    assert {"vault0 itself", "vault1 itself", "Consul on vault0"} <= set(above)


def test_both_todos_are_shown_for_a_fault_of_their_database() -> None:
    drawn = compare(reference.load("07-restart").records, reference.load("07-kill").records)
    names = [[label.get_text() for label in ax.get_yticklabels()] for ax in drawn.axes]
    shown = [each for each in names if "a todo is written" in each]
    assert len(shown) == 2
    assert all({"Consul on todo0", "Consul on todo1"} <= set(each) for each in shown)


def test_a_recorded_table_says_so() -> None:
    found = reference.load("05-kill").table()
    assert found["fault"].str.endswith(" (recorded)").all()
    told = reference.load("05-kill", predict={"detected": 9}).table().set_index("time")
    assert told.loc["Consul takes it out", "your prediction"] == "9 s"


def test_neighbours_that_say_the_same_are_one() -> None:
    lane = Lane("todo", "host", "todo", "rw")
    table = pd.DataFrame(
        [("down", "timeout", 0, 1, 2, 3), ("down", "overrun", 2, 3, 4, 5), ("up", "204", 4, 5, 6, 7)],
        columns=["state", "raw", "t0_lo", "t0_hi", "t1_lo", "t1_hi"],
    )
    merged = panels._alike(lane, table)
    assert [(words[0], times) for _, words, times in merged] == [
        ("no answer", (0, 1, 4, 5)),
        ("ok", (4, 5, 6, 7)),
    ]
