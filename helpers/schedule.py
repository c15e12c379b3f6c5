"""Absolute ticks: sample k is due at t0 + k·period and never waits for the one before.

Three things can keep a tick from being an ordinary sample, and each is written down as what
it is:

- **Overrun.** The target already holds two unanswered questions of this probe. A third would
  only pile up (a paused process otherwise collects thousands of half-open requests, answers
  those first when it wakes, and the probe measures itself). So the question is not sent; the
  tick waits beside the others for its own time-out. If the target gives any answer to this
  probe until then, that answer is the tick's too: a question sent at this moment would have
  been queued behind the two and answered with them. If it gives none, the tick ends as the
  time-out that it would have been. `error` is `overrun` in both cases and `done` is NaN, so
  nobody mistakes it for an answer, and a latency cannot be computed from it.
- **Missed.** The recorder itself did not run (paused, or the machine was). State `unknown`,
  raw `missed`: nothing is known about the target.
- **Ended.** The recording ended before the answer came. State `unknown`, raw `ended`.

A discovery probe chooses its instance per tick, and the two are counted per instance: a
frozen instance must not take the place of questions to the one that works.
"""

from __future__ import annotations

import asyncio
import math
import traceback
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from helpers.rows import Sample, state_of

#: Unanswered questions that one probe leaves with one target.
OUTSTANDING = 2


class Reading(NamedTuple):
    """What one question found out about one target and check."""

    target: str
    check: str
    raw: str
    error: str = "none"
    consul_index: int | None = None


class Probe(Protocol):
    """Something that can be asked at a fixed rate."""

    source: str
    vantage: str
    timeout: float

    def choose(self) -> str:
        """Return the name of the instance that the next question goes to."""

    async def ask(self, chosen: str) -> list[Reading]:
        """Ask it; silence within `timeout` seconds is a reading too, never an exception."""

    def silence(self, chosen: str, raw: str, error: str) -> list[Reading]:
        """Return the readings that stand for no answer."""


class Tick(NamedTuple):
    """One due sample."""

    seq: int
    due: float
    chosen: str


@dataclass(frozen=True)
class Outlet:
    """Where samples go and what time it is (seconds since the run's start)."""

    clock: Callable[[], float]
    write: Callable[[Sample], None]

    def put(
        self,
        probe: Probe,
        tick: Tick,
        sent: float,
        done: float,
        readings: list[Reading],
        overrun: bool = False,
    ) -> None:
        """Write the readings of one tick as samples."""
        for target, check, raw, error, index in readings:
            state = state_of(probe.source, raw, error)
            if overrun:
                error = "overrun"
            self.write(
                Sample(
                    tick.seq,
                    tick.due,
                    sent,
                    done,
                    probe.source,
                    probe.vantage,
                    target,
                    check,
                    state,
                    raw,
                    error,
                    index,
                )
            )


class Ticker:
    """Asks one probe on absolute ticks."""

    def __init__(self, probe: Probe, period: float, first: float, outlet: Outlet) -> None:
        """Prepare; `first` is the run's second at which tick 0 is due."""
        self.probe = probe
        self.period = period
        self.lateness = array("d")
        self._first = first
        self._outlet = outlet
        self._seq = 0
        self._timer: asyncio.TimerHandle | None = None
        self._open: dict[asyncio.Task[None], tuple[Tick, float]] = {}
        self._overruns: list[Tick] = []
        self._complained = False

    def start(self) -> None:
        """Schedule the first tick."""
        self._wait()

    async def stop(self, grace: float) -> None:
        """Tick no more; wait `grace` seconds for what is open and write the rest as ended."""
        if self._timer is not None:
            self._timer.cancel()
        if self._open:
            await asyncio.wait(self._open, timeout=grace)
        self._expire()
        cut = list(self._open.items())
        self._open.clear()
        for task, (tick, sent) in cut:
            task.cancel()
            self._unasked(tick, "ended", sent)
        for tick in self._overruns:
            self._unasked(tick, "ended", tick.due)
        self._overruns.clear()

    def _due(self, seq: int) -> float:
        return self._first + seq * self.period

    def _wait(self) -> None:
        # uvloop's timers have milliseconds: one more, or a tick could be early
        delay = self._due(self._seq) - self._outlet.clock() + 0.001
        self._timer = asyncio.get_running_loop().call_later(max(delay, 0), self._tick)

    def _tick(self) -> None:
        now = self._outlet.clock()
        while self._due(self._seq + 1) <= now:
            due = self._due(self._seq)
            self.lateness.append(now - due)  # at least: it was not asked at all
            self._unasked(Tick(self._seq, due, self.probe.choose()), "missed", due)
            self._seq += 1
        chosen = self.probe.choose()
        tick = Tick(self._seq, self._due(self._seq), chosen)
        self._expire()
        self.lateness.append(now - tick.due)
        if sum(open_.chosen == chosen for open_, _ in self._open.values()) < OUTSTANDING:
            task = asyncio.get_running_loop().create_task(self._ask(tick, now))
            self._open[task] = tick, now
        else:
            self._overruns.append(tick)
        self._seq += 1
        self._wait()

    async def _ask(self, tick: Tick, sent: float) -> None:
        try:
            readings = await self.probe.ask(tick.chosen)
        except Exception:  # an answer that makes no sense must not end the recording
            if not self._complained:
                traceback.print_exc()
            self._complained = True
            readings = self.probe.silence(tick.chosen, "", "other")
        done = self._outlet.clock()
        task = asyncio.current_task()
        if task not in self._open:
            return  # the recording ended meanwhile and has written this tick
        del self._open[task]
        self._outlet.put(self.probe, tick, sent, done, readings)
        self._expire()
        if all(reading.error == "timeout" for reading in readings):
            return
        for waiting in [w for w in self._overruns if w.chosen == tick.chosen]:
            self._overruns.remove(waiting)
            self._outlet.put(self.probe, waiting, waiting.due, math.nan, readings, overrun=True)

    def _expire(self) -> None:
        """Write the overruns whose own time-out is over."""
        limit = self._outlet.clock() - self.probe.timeout
        while self._overruns and self._overruns[0].due <= limit:
            tick = self._overruns.pop(0)
            silence = self.probe.silence(tick.chosen, "", "timeout")
            self._outlet.put(self.probe, tick, tick.due, math.nan, silence, overrun=True)

    def _unasked(self, tick: Tick, raw: str, sent: float) -> None:
        silence = self.probe.silence(tick.chosen, raw, "other")
        self._outlet.put(self.probe, tick, sent, math.nan, silence)
