"""Spans: edges between samples, holes that stay holes, unknown as a state of its own."""

from __future__ import annotations

import random

import made_up
import pytest
from made_up import Story

from helpers.timeline import Lane, lanes, spans

VAULT = Lane("vault", "host", "vault0", "health")
CATALOG = Lane("consul_catalog", "mysql", "todo0", "todo")


def polled(says: made_up.Says, hz: float = 4, length: float = 10) -> Story:
    random.seed(7)
    story = Story(length)
    story.polled("vault", "vault0", "health", hz, says)
    return story


def test_a_transition_lies_between_two_samples() -> None:
    story = polled(lambda t: made_up.ok("200") if t < 4.1 else made_up.refused())
    found = spans(story.records().samples)
    assert list(found["state"]) == ["up", "down"]
    up, down = found.iloc[0], found.iloc[1]
    assert (up.t1_lo, up.t1_hi) == (down.t0_lo, down.t0_hi)
    assert down.t0_lo <= 4.1 <= down.t0_hi
    assert down.t0_hi - down.t0_lo == pytest.approx(0.25)


def test_nothing_is_extrapolated() -> None:
    samples = polled(lambda t: made_up.ok("200")).records().samples
    (span,) = spans(samples).itertuples()
    assert span.t0_lo == span.t0_hi == samples["sent"].min()
    assert span.t1_lo == span.t1_hi == samples["sent"].max()


@pytest.mark.parametrize(("dropped", "states"), [(1, ["up"]), (2, ["up", "unknown", "up"])])
def test_one_late_sample_is_no_hole_and_two_missing_are(dropped: int, states: list[str]) -> None:
    samples = polled(lambda t: made_up.ok("200")).records().samples
    samples = samples.drop(index=range(10, 10 + dropped))
    found = spans(samples)
    assert list(found["state"]) == states
    if dropped == 2:
        hole = found.iloc[1]
        assert hole.t0_lo == hole.t0_hi == found.iloc[0].t1_hi
        assert hole.t1_lo == hole.t1_hi == found.iloc[2].t0_lo


def test_the_same_state_with_another_answer_is_another_span() -> None:
    story = polled(lambda t: made_up.ok("429") if t < 5 else made_up.ok("200"))
    assert list(spans(story.records().samples)["raw"]) == ["429", "200"]


def test_another_instance_is_no_change() -> None:
    story = Story(5)
    story.polled("todo", "todo", "rw", 8, lambda t: made_up.ok(f"204 @todo{int(t * 8) % 2}"))
    assert list(spans(story.records().samples)["raw"]) == ["204"]


def test_the_catalog_holds_until_its_next_row_and_is_unknown_where_it_says_so() -> None:
    story = Story(20)
    story.catalog("todo0", "todo", [(0, "passing"), (5.0, "critical"), (9.0, "?"), (14.0, "passing")])
    found = spans(story.records().samples, [CATALOG])
    assert list(found["state"]) == ["up", "down", "unknown", "up"]
    assert found.iloc[1].t0_hi - found.iloc[1].t0_lo == pytest.approx(0.003)
    assert found.iloc[1].t1_lo < 9.0 <= found.iloc[1].t1_hi


def test_a_catalog_that_falls_silent_does_not_go_on() -> None:
    story = Story(30)
    story.catalog("todo0", "todo", [(0, "passing")])
    samples = story.records().samples
    samples = samples[(samples["sent"] < 8) | (samples["sent"] > 20)]
    assert list(spans(samples)["state"]) == ["up", "unknown", "up"]


def test_lanes_and_selection() -> None:
    samples = made_up.todo_killed().samples
    assert VAULT in lanes(samples)
    chosen = spans(samples, [VAULT])
    assert set(chosen["target"]) == {"vault0"}
    assert spans(samples, [Lane("vault", "host", "nobody", "health")]).empty
