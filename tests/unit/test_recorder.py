"""The recorder's ticks: absolute, capped, honest about what was not asked; and its process."""

import asyncio
import errno
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from helpers import recorder, records, rows, topology
from helpers.errors import LabError
from helpers.schedule import Outlet, Reading, Ticker

#: Half of all ticks may be this late on a busy machine before a test says so. A schedule that
#: waits for its answers (0.09 s each, every 0.05 s) is later than this from the second tick on.
LATE = 0.03


class Fake:
    """A probe whose instances answer as a script says: seconds until the answer, raw, error."""

    source = "todo"
    vantage = "host"

    def __init__(self, answer: Callable[[str, int], tuple[float, str, str]], timeout: float = 0.3) -> None:
        self.timeout = timeout
        self.answer = answer
        self.asked = 0
        self.open: dict[str, int] = {}
        self.most_open = 0
        self.order = ["todo0"]
        self.ticks = count()

    def choose(self) -> str:
        return self.order[next(self.ticks) % len(self.order)]

    async def ask(self, chosen: str) -> list[Reading]:
        number, self.asked = self.asked, self.asked + 1
        self.open[chosen] = self.open.get(chosen, 0) + 1
        self.most_open = max(self.most_open, self.open[chosen])
        try:
            wait, raw, error = self.answer(chosen, number)
            if wait > self.timeout:
                await asyncio.sleep(self.timeout)
                return self.silence(chosen, "", "timeout")
            await asyncio.sleep(wait)
            return [Reading("todo", "rw", raw, error)]
        finally:
            self.open[chosen] -= 1

    def silence(self, chosen: str, raw: str, error: str) -> list[Reading]:
        return [Reading("todo", "rw", raw or f"@{chosen}", error)]


def ticked(
    probe: Fake,
    period: float,
    seconds: float,
    also: Awaitable[None] | None = None,
    keep: list[Ticker] | None = None,
) -> list[rows.Sample]:
    """Tick a probe for some seconds; return its samples by number.

    On a busy machine the test itself may sleep through a tick: `asked` leaves such ticks out.
    """
    written: list[rows.Sample] = []

    async def run() -> None:
        begin = time.monotonic()
        ticker = Ticker(probe, period, 0.02, Outlet(lambda: time.monotonic() - begin, written.append))
        if keep is not None:
            keep.append(ticker)
        ticker.start()
        if also is not None:
            await also
        await asyncio.sleep(max(seconds - (time.monotonic() - begin), 0))
        await ticker.stop(grace=0.01)

    asyncio.run(run())
    return sorted(written, key=lambda sample: sample.seq)


def asked(samples: list[rows.Sample]) -> list[rows.Sample]:
    return [s for s in samples if s.raw != "missed"]


def test_a_slow_target_does_not_delay_the_ticks() -> None:
    probe = Fake(lambda chosen, number: (0.09, "204 @todo0", "none"))
    samples = ticked(probe, period=0.05, seconds=0.8)
    assert [s.seq for s in samples] == list(range(len(samples)))
    for s in samples:
        assert s.due == pytest.approx(0.02 + 0.05 * s.seq)
        assert s.sent >= s.due
    late = statistics.median(s.sent - s.due for s in asked(samples))
    assert late < LATE, "the ticks waited for the answers before them"
    assert len(asked(samples)) > 0.7 * len(samples), "ticks were left out to keep up"
    answered = [s for s in samples if s.error == "none"]
    assert answered
    assert all(s.done - s.sent >= 0.09 for s in answered)


def test_a_frozen_target_gets_two_questions_and_no_more() -> None:
    probe = Fake(lambda chosen, number: (99, "", ""))
    samples = ticked(probe, period=0.02, seconds=1.0)
    assert probe.most_open == 2
    overrun = [s for s in samples if s.error == "overrun"]
    assert len(overrun) > 10
    for s in overrun:
        assert s.state == "down", "nothing was heard within the tick's own time-out"
        assert s.done != s.done, "there is no answer to compute a latency from"
    assert [s.seq for s in samples] == list(range(len(samples))), "every tick is in the recording"


def test_an_overrun_ends_as_the_target_does() -> None:
    """Frozen for 0.25 s, then every question is answered: nobody waited over the time-out."""
    begin = time.monotonic()

    def wakes(chosen: str, number: int) -> tuple[float, str, str]:
        return max(0.25 - (time.monotonic() - begin), 0), "204 @todo0", "none"

    samples = ticked(Fake(wakes, timeout=2), period=0.02, seconds=0.6)
    overrun = [s for s in samples if s.error == "overrun"]
    assert overrun
    assert {s.state for s in overrun} == {"up"}
    assert {s.raw for s in overrun} == {"204 @todo0"}


def test_a_frozen_instance_leaves_the_other_its_place() -> None:
    def half(chosen: str, number: int) -> tuple[float, str, str]:
        return (99, "", "") if chosen == "todo0" else (0.0, "204 @todo1", "none")

    probe = Fake(half)
    probe.order = ["todo0", "todo1"]
    samples = ticked(probe, period=0.02, seconds=0.8)
    by_instance = {name: [s for s in samples if s.raw.endswith(name) and s.due < 0.4] for name in probe.order}
    assert {s.state for s in by_instance["todo0"]} == {"down"}
    assert {(s.state, s.error) for s in by_instance["todo1"]} == {("up", "none")}


def test_ticks_that_the_recorder_slept_through_are_unknown() -> None:
    async def block() -> None:
        await asyncio.sleep(0.1)
        time.sleep(0.2)  # nothing else runs meanwhile: as if the process were stopped

    samples = ticked(Fake(lambda c, n: (0.0, "204 @todo0", "none")), 0.02, 0.4, block())
    missed = [s for s in samples if s.raw == "missed"]
    assert len(missed) >= 7
    assert {s.state for s in missed} == {"unknown"}
    assert [s.seq for s in samples] == list(range(len(samples)))


def test_an_answer_that_makes_no_sense_does_not_end_the_recording(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def nonsense(chosen: str, number: int) -> tuple[float, str, str]:
        raise KeyError("Status")

    samples = ticked(Fake(nonsense), period=0.02, seconds=0.3)
    assert {(s.state, s.error) for s in asked(samples)} == {("down", "other")}
    assert len(asked(samples)) > 1, "it went on"
    assert capsys.readouterr().err.count("KeyError: 'Status'") == 1


def test_what_the_end_cuts_off_is_unknown() -> None:
    samples = ticked(Fake(lambda c, n: (99, "", ""), timeout=10), period=0.05, seconds=0.3)
    assert {(s.state, s.raw) for s in asked(samples)} == {("unknown", "ended")}


# ---- the process ------------------------------------------------------------------------


def specification(folder: Path, **options: object) -> dict[str, object]:
    """A specification whose every address refuses: on no lab's network."""
    lab = topology.load(network="127.99.99")
    pids = folder / "pids.json"
    pids.write_text(json.dumps({"todo0:todo": os.getpid()}))
    return recorder.spec_for(lab, folder / "run", pids=pids, **options)  # type: ignore[arg-type]


def run_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Poll for at most 20 s: the start of Python and its imports on a busy machine."""
    limit = time.monotonic() + 20
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit, "the recorder did not get there"
        time.sleep(0.02)


def started(folder: Path, spec: dict[str, object]) -> subprocess.Popen[str]:
    """Start a recorder process; the caller ends it."""
    (folder / "spec.json").write_text(json.dumps(spec))
    return subprocess.Popen(
        [sys.executable, "-m", "helpers.recorder", str(folder / "spec.json")],
        stderr=subprocess.PIPE,
        text=True,
        cwd=topology.REPOSITORY,
    )


def mark(folder: Path) -> dict[str, float | str]:
    path = folder / "run" / recorder.MARK
    return json.loads(path.read_text()) if path.exists() else {}


def test_the_process_records_until_it_is_asked_to_end(tmp_path: Path) -> None:
    rows.start(tmp_path / "run", title="nothing answers")
    process = started(tmp_path, specification(tmp_path))
    try:
        run_until(lambda: "ready" in mark(tmp_path), process)
        ready = mark(tmp_path)["ready"]
        run_until(lambda: len(records.read(tmp_path / "run").samples) > 150, process)
        process.send_signal(signal.SIGINT)  # a notebook's interrupt goes to the whole group
        run_until(lambda: len(records.read(tmp_path / "run").samples) > 250, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=5) == 0
    finally:
        process.kill()
        process.communicate()
    run = records.finish(tmp_path / "run")
    assert records.validate(run) == []
    assert mark(tmp_path)["reason"] == "asked"
    assert run.samples["due"].min() >= float(ready)
    observers = run.samples[run.samples["source"].isin(list(rows.OBSERVERS))]
    assert set(observers["state"]) == {"unknown"}
    direct = run.samples.query("source == 'vault' and raw == ''")
    assert set(direct["state"]) == {"down"}
    assert set(direct["error"]) == {"refused"}
    truth = run.samples.query("source == 'process' and target == 'todo0:todo'")
    assert set(truth["raw"]) == {"running"}


@pytest.mark.parametrize(
    ("options", "reason"), [({"deadline": 0.5}, "deadline"), ({"limit": 20_000}, "disk")]
)
def test_the_process_ends_by_itself(tmp_path: Path, options: dict[str, object], reason: str) -> None:
    process = started(tmp_path, specification(tmp_path, **options))
    try:
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        process.communicate()
    assert mark(tmp_path)["reason"] == reason
    size = (tmp_path / "run" / rows.SAMPLES).stat().st_size
    # one flush and the rows of the last open questions may come on top of the limit
    assert size < 20_000 + 30_000


def test_no_specification_is_one_sentence() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "helpers.recorder", "/nonexistent/spec.json"],
        capture_output=True,
        text=True,
        cwd=topology.REPOSITORY,
        check=False,
    )
    assert process.returncode == 1
    assert "is not a recorder's specification" in process.stderr
    assert "Traceback" not in process.stderr


def test_a_specification_names_no_secret_and_every_node(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("hvs.secret")
    spec = recorder.spec_for(topology.load(), tmp_path / "run", vault_token=token)
    assert "hvs.secret" not in json.dumps(spec)
    assert list(spec["nodes"]) == ["consul", "vault0", "vault1", "mysql", "todo0", "todo1"]
    assert spec["rates"]["secret"] == recorder.RATES["secret"]
    assert "process" not in spec["rates"], "no file of process ids was given"


def test_one_rate_for_all_spares_the_database_its_users(tmp_path: Path) -> None:
    spec = recorder.spec_for(topology.load(), tmp_path, hz=10, vault_token=tmp_path / "token")
    rates = dict(spec["rates"])
    assert rates.pop("credential") == recorder.CREDENTIAL_RATE
    assert rates.pop("consul_catalog") == 0
    assert set(rates.values()) == {10}


def test_an_unknown_source_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no source 'gossip'; the sources are consul_catalog"):
        recorder.spec_for(topology.load(), tmp_path, sources=["gossip"])


def test_a_ledger_has_its_own_rate(tmp_path: Path) -> None:
    lab = topology.load()
    assert recorder.spec_for(lab, tmp_path, ledger=True)["ledger"] == recorder.RATES["todo"]
    assert recorder.spec_for(lab, tmp_path, ledger=50)["ledger"] == 50


def test_an_hour_fits_in_what_is_stated(tmp_path: Path) -> None:
    spec = recorder.spec_for(topology.load(), tmp_path, vault_token=tmp_path / "t", pids=tmp_path / "p")
    assert recorder.disk_use(spec) < 125e6, "the module's docstring states it"
    assert recorder.disk_use(spec, hours=2) == pytest.approx(2 * recorder.disk_use(spec), rel=1e-6)
    assert recorder.disk_use(spec) < recorder.LIMIT


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf, 1e6])
def test_a_rate_that_cannot_be_is_one_sentence(tmp_path: Path, rate: float) -> None:
    with pytest.raises(LabError, match="rate per second above 0"):
        recorder.spec_for(topology.load(), tmp_path, hz=rate)


def test_lines_that_found_no_room_are_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = rows.LineFile(tmp_path / "lines")
    kept.append([1])

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            kept.flush()
    kept.append([2])
    kept.close()
    assert rows.whole_lines(tmp_path / "lines") == [[1], [2]]


def test_a_stall_is_in_the_lateness() -> None:
    async def block() -> None:
        await asyncio.sleep(0.1)
        time.sleep(0.3)

    ticker: list[Ticker] = []
    samples = ticked(Fake(lambda c, n: (0.0, "204 @todo0", "none")), 0.02, 0.5, block(), ticker)
    assert max(ticker[0].lateness) >= 0.25, "the ticks that were missed are the latest of all"
    assert len(ticker[0].lateness) == len(samples)


@pytest.mark.parametrize("option", [{"client": "todo2"}, {"vantages": ["todo2"]}])
def test_a_spare_that_is_not_recorded_cannot_be_asked(option: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"todo2 is a spare node .* add spares=\['todo2'\]"):
        recorder.spec_for(topology.load(), tmp_path, **option)
    recorder.spec_for(topology.load(), tmp_path, spares=["todo2"], **option)
