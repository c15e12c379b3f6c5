"""What recording costs and how finely it sees, beside a plain polling script.

`python tests/bench/recorder.py` brings the lab up (`LAB_HOME`), then prints for the plain
script, for the recorder at its own rates and for the recorder at 10 Hz on everything:
processor time, lateness of ticks, and how far apart two answers about the same thing are,
with the lab healthy and with one todo instance paused. Takes about two minutes.

The plain script is what one writes first: a loop that asks Consul and each service, one after
the other, and then sleeps half a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx
import numpy as np
import requests
from rich.console import Console
from rich.table import Table

from helpers import Lab, recording, records, rows, wire
from helpers.recorder import MARK

SECONDS = 15.0  # of each of the two phases
TIMEOUT = 2.0  # seconds, of the plain script: the same as the recorder's for todo and Vault
#: What the recorder is allowed on an idle machine: issue text of the workbook, part 2.
ALLOWED_PERCENT = 15.0
ALLOWED_LATE = 0.050


@dataclass(frozen=True)
class Cost:
    """One line of the result: percent of a core, seconds, seconds apart (median, largest)."""

    name: str
    percent: float
    late_p99: float | None
    healthy: tuple[float, float]
    paused: tuple[float, float]


def processor_seconds() -> float:
    """Return the processor time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def apart(times: list[float], begin: float, end: float) -> tuple[float, float]:
    """Return median and largest distance of answers in an interval; its edges count too."""
    inside = [begin, *(t for t in sorted(times) if begin < t < end), end]
    gaps = np.diff(inside)
    return float(np.median(gaps)), float(gaps.max())


def plain_script(urls: list[str]) -> None:
    """Poll until TERM; print the moment of each answer about todo1, then the cost."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    session = requests.Session()
    before = processor_seconds()
    begin = time.monotonic()
    try:
        while True:
            for url in urls:
                with contextlib.suppress(requests.RequestException):
                    session.get(url, timeout=TIMEOUT)
                print(json.dumps({"url": url, "t": time.monotonic()}), flush=True)
            time.sleep(0.5)
    except KeyboardInterrupt:
        spent = processor_seconds() - before
        print(json.dumps({"percent": 100 * spent / (time.monotonic() - begin)}), flush=True)


def two_phases(lab: Lab) -> tuple[float, float, float]:
    """Let time pass with a healthy lab, then with todo0 paused; return the three moments."""
    begin = time.monotonic()
    time.sleep(SECONDS)
    lab.pause("todo0:todo")
    middle = time.monotonic()
    try:
        time.sleep(SECONDS)
        return begin, middle, time.monotonic()
    finally:
        lab.resume("todo0:todo")
        lab.reach("deployed", quiet=True)


def poll(lab: Lab) -> Cost:
    """Measure the plain script."""
    at, ports = lab.topology, lab.topology.ports
    services = [n for n in at.regular() if n.service in ("vault", "todo")]
    urls = [
        f"http://{at.server.address}:{ports['consul_http']}/v1/health/state/any",
        *(
            f"http://{n.address}:{ports['vault']}/v1/sys/health"
            if n.service == "vault"
            else f"http://{n.address}:{ports['todo']}/todo"
            for n in services
        ),
    ]
    script = subprocess.Popen([sys.executable, __file__, "plain", *urls], stdout=subprocess.PIPE, text=True)
    moments = two_phases(lab)
    script.terminate()
    lines = [json.loads(text) for text in script.communicate(timeout=30)[0].splitlines()]
    watched = f"http://{at['todo1'].address}:{ports['todo']}/todo"
    times = [line["t"] for line in lines if line.get("url") == watched]
    return Cost(
        "plain script, every 0.5 s",
        lines[-1]["percent"],
        None,
        apart(times, *moments[:2]),
        apart(times, *moments[1:]),
    )


def record(lab: Lab, name: str, hz: float | None) -> Cost:
    """Measure the recorder, with everything it can record."""
    folder = lab.home.folder("runs", f"bench-{os.getpid()}-{hz or 'default'}")
    info = rows.start(folder, title=name)
    recording.start(lab, folder, hz=hz)
    moments = two_phases(lab)
    recording.end(lab)
    mark = json.loads((folder / MARK).read_text())
    run = records.finish(folder)
    if wrong := records.validate(run):
        sys.exit("\n".join(wrong))
    answers = run.samples.query("source == 'todo' and target == 'todo1' and error != 'overrun'")
    times = list(answers["sent"] + info["clock"]["monotonic"])
    return Cost(
        name,
        100 * mark["processor_seconds"] / (mark["ended"] - mark["ready"]),
        mark["late_p99"],
        apart(times, *moments[:2]),
        apart(times, *moments[1:]),
    )


def clients(lab: Lab, count: int = 300) -> dict[str, float]:
    """Return the processor time of one request on a fresh connection, in µs, per client."""
    node, port = lab.topology["vault0"], lab.topology.ports["vault"]
    url = f"http://{node.address}:{port}/v1/sys/health"

    async def with_wire() -> None:
        await wire.ask(node.address, port, "GET", "/v1/sys/health")

    async def measure(ask: Callable[[], Awaitable[object]]) -> float:
        await ask()
        before = processor_seconds()
        for _ in range(count):
            await ask()
        return 1e6 * (processor_seconds() - before) / count

    async def all_of_them() -> dict[str, float]:
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(limits=limits) as client:
            return {
                "helpers.wire": await measure(with_wire),
                "httpx": await measure(lambda: client.get(url)),
            }

    with asyncio.Runner() as runner:
        return runner.run(all_of_them())


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["plain"]:
        plain_script(sys.argv[2:])
        return
    lab = Lab.at("deployed")
    out = Console()
    busy = os.getloadavg()[0]
    costs = [
        poll(lab),
        record(lab, "recorder, its own rates", None),
        record(lab, "recorder, everything at 10 Hz", 10.0),
    ]
    table = Table(title="Recording the six-node lab", caption="s: seconds")
    for head in (
        "",
        "% of one core",
        "ticks late, p99 s",
        "healthy: answers apart, median / largest s",
        "todo0 paused: answers about todo1 apart",
    ):
        table.add_column(head)
    for cost in costs:
        table.add_row(
            cost.name,
            f"{cost.percent:.1f}",
            "no ticks" if cost.late_p99 is None else f"{cost.late_p99:.4f}",
            "{:.2f} / {:.2f}".format(*cost.healthy),
            "{:.2f} / {:.2f}".format(*cost.paused),
        )
    out.print(table)
    for name, cost in clients(lab).items():
        out.print(f"one request on a fresh connection, {name}: {cost:.0f} µs of processor time")
    fast = costs[-1]
    held = fast.percent < ALLOWED_PERCENT and (fast.late_p99 or 0) < ALLOWED_LATE
    out.print(
        f"Allowed at 10 Hz on an idle machine: {ALLOWED_PERCENT:g} % of one core, ticks at most "
        f"{ALLOWED_LATE:g} s late at p99: {'held' if held else 'broken'}. "
        f"Load of this machine before: {busy:.1f} on {os.cpu_count()} cores."
    )


if __name__ == "__main__":
    main()
