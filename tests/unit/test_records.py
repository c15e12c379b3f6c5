"""Recordings: types, half-written lines, events, and that a recorder that lies is found out."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from helpers import records, rows
from helpers.errors import LabError
from helpers.records import Records

NAN = math.nan


def sample(seq: int, source: str = "todo", **changes: object) -> rows.Sample:
    """An ordinary answer at 4 Hz; `changes` replaces fields."""
    lane = {
        "todo": ("host", "todo0", "rw", "up", "204 @todo0", "none"),
        "dns": ("mysql", "todo", "A", "up", "todo0,todo1", "none"),
        "consul_agent": ("todo0", "todo0", "todo", "up", "passing", "none"),
        "vault": ("host", "vault0", "health", "up", "200", "none"),
    }[source]
    due = 0.1 + 0.25 * seq
    made = rows.Sample(seq, due, due + 0.001, due + 0.004, source, *lane, None)
    return made._replace(**changes)


def honest() -> Records:
    """A made-up recording of 20 ticks of four sources, one of them silent for a while."""
    made = [sample(k, source) for source in ("todo", "dns", "vault") for k in range(20)]
    for k in range(20):
        silent = {"state": "unknown", "raw": "", "error": "timeout"} if 5 <= k < 9 else {}
        made.append(sample(k, "consul_agent", consul_index=None, **silent))
    samples = pd.DataFrame([rows.line(s) for s in made], columns=rows.COLUMNS)
    events = pd.DataFrame(
        [
            (1, 1.0, 1.2, "inject", "kill", "todo0", "{}", True, "", '{"detected": [0, 5]}'),
            (2, 3.0, 3.4, "heal", "kill", "todo0", "{}", True, "", "{}"),
        ],
        columns=records.EVENT_COLUMNS,
    )
    return Records({"title": "made up"}, *records.tables(samples, events))


def test_an_honest_recording_has_nothing_wrong() -> None:
    assert records.validate(honest()) == []


def lie(column: str, value: object, where: str) -> Callable[[Records], None]:
    """A lie that writes `value` into a column of the samples that a query selects."""

    def tell(run: Records) -> None:
        run.samples.loc[run.samples.eval(where), column] = value

    return tell


def drop(run: Records) -> None:
    run.samples = run.samples.drop(run.samples.query("source == 'dns' and seq == 7").index)


def drop_the_first(run: Records) -> None:
    run.samples = run.samples.drop(run.samples.query("source == 'dns' and seq < 2").index)


def drop_the_last(run: Records) -> None:
    run.samples = run.samples.drop(run.samples.query("source == 'dns' and seq > 3").index)


def drop_and_renumber(run: Records) -> None:
    drop(run)
    run.samples.loc[run.samples.eval("source == 'dns' and seq > 7"), "seq"] -= 1


def repeat(run: Records) -> None:
    again = run.samples.query("source == 'vault' and seq == 3")
    run.samples = pd.concat([run.samples, again], ignore_index=True)


def wait_for_each_answer(run: Records) -> None:
    """What 'sleep after the probe' does to the ticks."""
    late = run.samples["source"] == "todo"
    for column in ("due", "sent", "done"):
        run.samples.loc[late, column] += 0.01 * run.samples.loc[late, "seq"].astype(float) ** 2


def swap_edges(run: Records) -> None:
    run.events.loc[0, ["t_begin", "t_end"]] = [1.2, 1.0]


def heal_first(run: Records) -> None:
    run.events.loc[0, ["t_begin", "t_end"]] = [3.6, 3.7]


@pytest.mark.parametrize(
    ("tell", "sentence"),
    [
        (drop, "dns mysql todo A dropped ticks after number 6"),
        (drop_the_first, "dns mysql todo A dropped its first 2 ticks"),
        (drop_the_last, "dns mysql todo A dropped its last ticks"),
        (drop_and_renumber, "dns mysql todo A is not on absolute ticks of 0.250 s"),
        (repeat, "has two samples for one tick"),
        (wait_for_each_answer, "is not on absolute ticks"),
        (lie("state", "down", "state == 'unknown'"), "that is not down but unknown"),
        (lie("state", "up", "state == 'unknown'"), "that is not up but unknown"),
        (lie("raw", "429", "source == 'todo' and seq == 4"), "that is not up but down"),
        (lie("error", "refused", "source == 'todo' and seq == 4"), "that is not up but down"),
        (lie("raw", "fine", "source == 'consul_agent' and seq == 4"), "'fine' (error none)"),
        (lie("state", None, "source == 'dns' and seq == 4"), "not in the vocabulary"),
        (lie("sent", 0.0, "source == 'dns' and seq == 4"), "sent before it was due"),
        (lie("done", 0.0, "source == 'dns' and seq == 4"), "answered before it was sent"),
        (lie("sent", NAN, "source == 'dns' and seq == 4"), "no time sent"),
        (swap_edges, "Event 1 (inject kill) ends before it begins"),
        (heal_first, "Event 2 heals 'kill' before it is injected"),
    ],
)
def test_a_recorder_that_lies_is_found_out(tell: Callable[[Records], None], sentence: str) -> None:
    run = honest()
    tell(run)
    assert any(sentence in wrong for wrong in records.validate(run)), records.validate(run)


def test_silence_of_an_observer_stays_unknown_when_the_tick_overran() -> None:
    run = honest()
    where = run.samples.eval("source == 'consul_agent' and state == 'unknown'")
    run.samples.loc[where, "error"] = "overrun"
    run.samples.loc[where, "done"] = NAN
    assert records.validate(run) == []
    run.samples.loc[where, "state"] = "down"
    assert len(records.validate(run)) == 1


@pytest.mark.parametrize(
    ("source", "raw", "error", "state"),
    [
        ("consul_catalog", "passing active", "none", "up"),
        ("consul_catalog", "warning", "none", "degraded"),
        ("consul_catalog", "critical active", "none", "down"),
        ("consul_catalog", "absent", "none", "down"),
        *(("consul_catalog", "", e, "unknown") for e in ("refused", "timeout", "http_5xx")),
        ("consul_leader", "127.20.20.10:8300", "none", "up"),
        ("consul_leader", "", "none", "down"),
        ("consul_leader", "", "timeout", "unknown"),
        ("dns", "todo0,todo1", "none", "up"),
        ("dns", "", "none", "down"),
        ("dns", "", "nxdomain", "down"),
        ("dns", "", "servfail", "unknown"),
        ("dns", "", "timeout", "unknown"),
        ("vault", "200", "none", "up"),
        ("vault", "429", "none", "up"),
        ("vault", "473", "none", "up"),
        ("vault", "472", "http_4xx", "degraded"),
        ("vault", "474", "http_4xx", "degraded"),
        *(("vault", str(code), "http_5xx", "down") for code in (500, 501, 503)),
        ("vault", "", "refused", "down"),
        ("vault", "", "timeout", "down"),
        ("secret", "204", "none", "up"),
        ("secret", "307", "other", "down"),
        ("secret", "no token", "other", "unknown"),
        ("todo", "204 @todo0", "none", "up"),
        ("todo", "503 @todo0", "http_5xx", "down"),
        ("todo", "@todo0", "timeout", "down"),
        ("todo", "ended", "other", "unknown"),
        ("todo", "missed", "other", "unknown"),
        ("credential", "200 @vault0", "none", "up"),
        ("process", "running", "none", "up"),
        ("process", "stopped", "none", "degraded"),
        ("process", "gone", "none", "down"),
        ("process", "", "other", "unknown"),
    ],
)
def test_the_state_rule(source: str, raw: str, error: str, state: str) -> None:
    assert rows.state_of(source, raw, error) == state


def test_types_and_values_survive_being_written_and_read(tmp_path: Path) -> None:
    run = honest()
    run.samples.loc[3, "index"] = 2**40
    run.samples.loc[4, "done"] = NAN
    records.write(run, tmp_path / "run")
    back = records.read(tmp_path / "run")
    assert back.info == run.info
    assert back.samples["state"].dtype == pd.CategoricalDtype(list(rows.STATES), ordered=True)
    assert (back.samples["state"] < "down").any()
    pd.testing.assert_frame_equal(back.events, run.events)
    # a tenth of a millisecond is what the recorder itself keeps
    pd.testing.assert_frame_equal(back.samples, run.samples, rtol=0, atol=1e-4)


def recorded(folder: Path, count: int = 5) -> Path:
    """A run as a recorder leaves it: JSON lines."""
    rows.start(folder, title="made up")
    lines = rows.LineFile(folder / rows.SAMPLES, rows.COLUMNS)
    for k in range(count):
        lines.append(rows.line(sample(k)))
    lines.close()
    return folder


def test_a_half_written_last_line_is_survived(tmp_path: Path) -> None:
    folder = recorded(tmp_path)
    records.append_event(folder, phase="inject", t_begin=1, t_end=1.1, fault="kill", target="todo0")
    for name in (rows.SAMPLES, rows.EVENTS):
        with (folder / name).open("a") as file:
            file.write('{"seq": 5, "du')
    run = records.read(folder)
    assert list(run.samples["seq"]) == [0, 1, 2, 3, 4]
    assert len(run.events) == 1
    assert records.validate(run) == []


def test_a_line_after_a_half_one_is_not_lost(tmp_path: Path) -> None:
    folder = recorded(tmp_path)
    (folder / rows.EVENTS).write_text('{"id": 1, "t_beg')
    number = records.append_event(folder, phase="note", t_begin=2, t_end=2, message="still here")
    assert number == 1
    assert list(records.read(folder).events["message"]) == ["still here"]


def test_a_line_cut_at_any_byte_is_survived(tmp_path: Path) -> None:
    folder = recorded(tmp_path, count=3)
    whole = (folder / rows.SAMPLES).read_bytes()
    last = len(whole) - len(whole.splitlines(keepends=True)[-1])
    for length in range(last, len(whole)):
        (folder / rows.SAMPLES).write_bytes(whole[:length])
        # the last byte is the line's end: without it the line is whole all the same
        assert len(records.read(folder).samples) == (3 if length == len(whole) - 1 else 2)


def test_an_empty_run_has_its_columns_and_types(tmp_path: Path) -> None:
    rows.start(tmp_path)
    run = records.read(tmp_path)
    assert run.samples.empty
    assert list(run.samples) == rows.COLUMNS
    assert list(run.events) == records.EVENT_COLUMNS
    assert records.validate(run) == []


def test_finishing_keeps_everything_and_leaves_no_lines(tmp_path: Path) -> None:
    folder = recorded(tmp_path)
    records.append_event(folder, phase="steady", t_begin=0, t_end=0.5)
    before = records.read(folder)
    after = records.finish(folder)
    assert len(after.samples) == len(before.samples)
    assert not (folder / rows.SAMPLES).exists()
    assert len(records.finish(folder).samples) == len(before.samples), "again, without harm"


def test_events_get_numbers_in_order_and_keep_their_edges(tmp_path: Path) -> None:
    info = rows.start(tmp_path)
    assert 0 <= records.now(info) < 5
    first = records.append_event(
        tmp_path,
        phase="inject",
        t_begin=1.0,
        t_end=1.25,
        fault="kill",
        target="todo0",
        params={"signal": "KILL"},
        bounds={"detected": [0, 5]},
    )
    second = records.append_event(tmp_path, phase="heal", t_begin=4, t_end=5, target="todo0")
    events = records.read(tmp_path).events
    assert list(events["id"]) == [first, second] == [1, 2]
    assert list(events["t_begin"]) == [1.0, 4.0]
    assert list(events["t_end"]) == [1.25, 5.0]
    assert json.loads(events["params"][0]) == {"signal": "KILL"}
    assert json.loads(events["bounds"][0]) == {"detected": [0, 5]}


def test_an_event_with_swapped_edges_is_refused(tmp_path: Path) -> None:
    rows.start(tmp_path)
    with pytest.raises(LabError, match="would end before it begins"):
        records.append_event(tmp_path, phase="inject", t_begin=2, t_end=1, fault="kill")
    with pytest.raises(LabError, match="no event phase 'injected'"):
        records.append_event(tmp_path, phase="injected", t_begin=1, t_end=2)


def test_a_folder_without_a_recording_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="There is no recording in"):
        records.read(tmp_path)


def test_the_size_of_an_ordinary_row_is_bounded() -> None:
    widest = sample(36_000, due=3600.1234, consul_index=123_456)._replace(
        source="consul_catalog", vantage="consul", target="vault0", check="serfHealth", done=3601.12
    )
    assert len(json.dumps(rows.line(widest), separators=(",", ":"))) < rows.ROW_BYTES


def test_the_ledger_tells_acknowledged_from_lost(tmp_path: Path) -> None:
    lines = rows.LineFile(tmp_path / rows.LEDGER)
    lines.append({"t": 1.0, "id": 7, "content": "l 0", "instance": "todo0", "error": "none"})
    lines.append({"t": 1.1, "id": None, "content": "l 1", "instance": "todo1", "error": "timeout"})
    lines.close()
    entries = records.ledger(tmp_path)
    assert list(entries["id"].dropna()) == [7]
    assert list(entries.loc[entries["id"].isna(), "content"]) == ["l 1"]


def test_a_run_that_was_half_finished_is_read_and_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, or a kill, while the tables are written leaves the lines as they are."""
    rows.start(tmp_path)
    kept = rows.LineFile(tmp_path / rows.SAMPLES)
    kept.append(rows.line(rows.Sample(0, 0.0, 0.0, 0.1, "todo", "host", "todo", "rw", "up", "204", "none")))
    kept.close()

    def full(_: object, path: Path, **_options: object) -> None:
        path.write_bytes(b"PAR1 half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pd.DataFrame, "to_parquet", full)
        with pytest.raises(OSError, match="No space"):
            records.finish(tmp_path)
    assert len(records.read(tmp_path).samples) == 1
    assert len(records.finish(tmp_path).samples) == 1
    assert not [file.name for file in tmp_path.iterdir() if file.suffix == ".jsonl" or file.name[0] == "."]
