"""How long `lab up` takes from nothing, step by step, and against the same steps one after the other.

    python tests/bench/lab_up.py [--repeats 5]

Each repeat starts from a purged folder of its own. The steps' times are taken as the lab says them; steps
that run side by side overlap, so that their sum is more than the whole. "One after the other" is the same
program with every pool of threads reduced to one worker, measured in turn with the other.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers import deploy, nodes
from helpers.drivers import local
from helpers.lab import Lab

GOAL = 8.0  # seconds, median: from nothing to two todos that are passing in Consul


class OneAtATime(futures.ThreadPoolExecutor):
    """A pool with one worker, whatever was asked for."""

    def __init__(self, max_workers: int | None = None, **options: Any) -> None:
        super().__init__(1, **options)


@contextmanager
def one_after_the_other(yes: bool) -> Iterator[None]:
    """Let the lab's modules use one worker."""
    modules: list[Any] = [nodes, deploy, local]
    kept = [module.ThreadPoolExecutor for module in modules]
    try:
        for module in modules if yes else []:
            module.ThreadPoolExecutor = OneAtATime
        yield
    finally:
        for module, pool in zip(modules, kept, strict=True):
            module.ThreadPoolExecutor = pool


def once(sequential: bool) -> tuple[float, list[tuple[str, float]]]:
    """Take a lab from nothing to deployed and away again; return the seconds in all and of each step."""
    with tempfile.TemporaryDirectory(prefix="lab-bench-") as folder:
        os.environ["LAB_HOME"] = str(Path(folder) / "lab")
        lab = Lab.open(lambda _: None)
        try:
            with one_after_the_other(sequential):
                begun = time.monotonic()
                lab.reach("deployed")
                took = time.monotonic() - begun
            return took, list(lab.timings)
        finally:
            lab.down(purge=True)


def main() -> None:
    """Measure, print, and say whether the goal is met; exit 1 when it is not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    totals: dict[bool, list[float]] = {False: [], True: []}
    steps: dict[str, dict[bool, list[float]]] = defaultdict(lambda: {False: [], True: []})
    for number in range(repeats):
        for sequential in (False, True):
            took, timings = once(sequential)
            totals[sequential].append(took)
            for name, seconds in timings:
                steps[name][sequential].append(seconds)
        print(f"  {number + 1} of {repeats}: {totals[False][-1]:.1f} s, {totals[True][-1]:.1f} s", flush=True)

    print(f"\n{'step (median seconds)':<62}{'lab up':>8}{'in turn':>9}")
    for name, times in steps.items():
        cells = [f"{statistics.median(times[kind]):.2f}" if times[kind] else "-" for kind in (False, True)]
        print(f"{name:<62}{cells[0]:>8}{cells[1]:>9}")
    median, in_turn = (statistics.median(totals[kind]) for kind in (False, True))
    print(f"{'in all':<62}{median:>8.2f}{in_turn:>9.2f}")
    met = "met" if median < GOAL else "not met"
    print(f"\nlab up: {median:.1f} s median of {repeats} (goal: under {GOAL:g} s, {met});", end=" ")
    print(f"one after the other it takes {in_turn / median:.2f} times as long.")
    raise SystemExit(median >= GOAL)


if __name__ == "__main__":
    main()
