"""Every fault many times: is what is measured always in what the protocols allow?

    python tests/bench/repeats.py [SHORT] [LONG]     runs of each short and each 40-second fault (10, 3)

Prints a row per fault and time: allowed, how many runs, how many inside, least, median, greatest; and draws
them on the allowed intervals into out/repeats.png. Each
injection waits a random part of a check's interval, so that the check's phase is drawn and not chosen, and
the faults take turns, so that a busy quarter of an hour is not one fault's alone. After a Ctrl-C it prints
what it has. The lab is that of LAB_HOME, and is healthy again at the end.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

from matplotlib.figure import Figure

from helpers import Lab, comparison, figures
from helpers.quantities import QUANTITIES
from helpers.verdict import findings

SHORT = [
    ("stop", "todo0", 4.0),
    ("kill", "todo0", 7.0),
    ("pause", "todo0", 8.0),
    ("maintenance", "todo0", 3.0),
    ("kill", "todo0:agent", 13.0),
    ("power_off", "todo0", 13.0),
    ("step_down", "vault.leader", 4.0),
    ("stop", "vault.leader", 4.0),
    ("seal", "vault.leader", 4.0),
    ("kill", "vault.standby", 7.0),
    ("stop", "mysql", 7.0),
    ("kill", "mysql", 7.0),
    ("pause", "mysql", 9.0),
    ("restart", "mysql", 7.0),
    ("restart", "vault.leader", 4.0),
    ("pause", "vault.leader", 10.0),
    ("leave", "todo0", 8.0),
    ("stop", "consul", 5.0),
    ("restart", "consul", 6.0),
    ("power_off", "mysql", 13.0),
]
LONG = [
    ("kill", "vault.leader", 49.0),
    ("power_off", "vault.leader", 30.0),
    ("stop", "consul", 20.0),
]
Row = tuple[str, str]
Judged = tuple[tuple[float, float], float | None]
Runs = dict[Row, list[Judged]]
OUT = Path("out")


def once(lab: Lab, fault: str, target: str, seconds: float) -> dict[Row, Judged]:
    """Do one run and return, for each judged time, what was allowed in it and what was measured."""
    with lab.record(f"{target}: {fault}") as run:
        run.steady(4)
        time.sleep(random.uniform(0, lab.topology.raw["check"]["interval"]))
        run.inject(fault, target)
        run.observe(seconds)
    assert run.records is not None
    return {
        (f"{target}: {fault}, {seconds:g} s", each.quantity.words): (
            each.allowed,
            each.measured.value if each.measured else None,
        )
        for each in findings(run.records)
        if each.allowed is not None
    }


def picture(measured: Runs) -> Figure:
    """Return all times of each fault on its allowed interval; counts are no times."""
    counts = {each.words for each in QUANTITIES.values() if each.counts}
    times, allowed = {}, {}
    for (name, words), runs in measured.items():
        if words not in counts:
            times[f"{name}: {words}"] = [value for _, value in runs if value is not None]
            allowed[f"{name}: {words}"] = widest(runs)
    return comparison.repeats(times, allowed)


def widest(runs: list[Judged]) -> tuple[float, float]:
    """Return from the earliest to the latest that was allowed in any of the runs."""
    return min(lo for (lo, _), _ in runs), max(hi for (_, hi), _ in runs)


def main() -> int:
    """Run everything; return 1 when a number lies outside of its interval."""
    if not all(word.isdigit() and int(word) for word in sys.argv[1:]):
        print("Two numbers of runs, both at least 1: python tests/bench/repeats.py 10 3", file=sys.stderr)
        return 2
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is born deaf to it
    counts = [int(word) for word in sys.argv[1:]] or [10, 3]
    short, long = counts[0], counts[-1]
    lab = Lab.at("deployed")
    measured: Runs = defaultdict(list)
    plan = [(*fault, short) for fault in SHORT] + [(*fault, long) for fault in LONG]
    turns = [each[:3] for turn in range(max(short, long)) for each in plan if turn < each[3]]
    with contextlib.suppress(KeyboardInterrupt):
        for fault, target, seconds in turns:
            for row, (interval, value) in once(lab, fault, target, seconds).items():
                measured[row].append((interval, value))
                print(json.dumps([*row, *interval, value]), flush=True)
    lab.reach("deployed", quiet=True)
    words = f"{'fault':34} {'time':30} {'allowed, s':>12} {'n':>3} {'in':>3}"
    print(f"\n{words} {'least':>6} {'median':>6} {'most':>6}")
    outside = 0
    for (name, time_), runs in measured.items():
        numbers = [value for _, value in runs if value is not None]
        # each against its own run's interval: how long the fault really lasted is a part of some
        inside = sum(value is not None and lo <= value <= hi for (lo, hi), value in runs)
        outside += len(runs) - inside
        spread = (
            f"{min(numbers):6.2f} {statistics.median(numbers):6.2f} {max(numbers):6.2f}" if numbers else "–"
        )
        lo, hi = widest(runs)
        print(f"{name:34} {time_:30} {f'{lo:.3g}–{hi:.3g}':>12} {len(runs):3} {inside:3} {spread}")
    OUT.mkdir(exist_ok=True)
    (OUT / "repeats.png").write_bytes(figures.png(picture(measured)))
    print(f"\nThe picture: {OUT / 'repeats.png'}")
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main())
