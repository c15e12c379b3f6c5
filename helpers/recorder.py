"""The recorder: a process of its own that asks every source at its rate and appends rows.

`python -m helpers.recorder SPEC.json` runs in the foreground until SIGTERM, its deadline or
its disk limit, under whoever supervises it; cells, interrupts and kernel restarts do not
reach it. `spec_for` builds the specification. In the run's folder it writes

- `samples.jsonl` and, with a ledger, `ledger.jsonl`: handed to the operating system every
  `FLUSH` seconds, so that a killed recorder loses at most that;
- `recorder.json`: its process id and `ready`, the run's second at which the first tick is
  due; at the end also `ended`, `reason` (`asked`, `deadline` or `disk`), the processor time
  since `ready` and how late the ticks were, in seconds.

Disk: an hour on the six-node lab is at most `disk_use` = 125 MB of JSON lines (80 MB were
seen), and a finished run shrinks to a tenth of that or less as parquet. `limit` in the specification
(bytes, `LIMIT` if not given) ends the recording; it is passed by one flush at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from helpers import probes, rows
from helpers.errors import LabError
from helpers.schedule import Outlet, Probe, Ticker
from helpers.topology import Topology

#: Questions per second and source. The catalog is listened to, not asked.
RATES = {
    "consul_catalog": 0.0,
    "consul_agent": 2.0,
    "consul_leader": 2.0,
    "dns": 2.0,
    "vault": 4.0,
    "secret": 4.0,
    "todo": 8.0,
    "credential": 0.5,
    "process": 10.0,
}
#: Seconds until a source that has not answered counts as silent.
TIMEOUTS = {
    "consul_catalog": 1.0,
    "consul_agent": 1.0,
    "consul_leader": 1.0,
    "dns": 1.0,
    "vault": 2.0,
    "secret": 2.0,
    "todo": 2.0,
    "credential": 5.0,
}
#: A fresh credential makes and drops a database user: not asked for faster than this.
CREDENTIAL_RATE = 0.5
NAMES = ("todo", "active.vault", "mysql")

FASTEST = 100.0  # questions per second and probe: the loop that asks has other probes, too
FLUSH = 0.25  # seconds
LIMIT = 256 * 2**20  # bytes of samples
GRACE = 0.3  # seconds that open questions get at the end
MARK = "recorder.json"


def spec_for(
    topology: Topology,
    folder: Path,
    *,
    sources: list[str] | None = None,
    hz: float | None = None,
    vantages: tuple[str, ...] = ("consul", "mysql"),
    client: str = "mysql",
    vault_token: Path | None = None,
    pids: Path | None = None,
    spares: list[str] | None = None,
    ledger: float = 0,
    retry: bool = False,
    deadline: float = 900,
    limit: int = LIMIT,
) -> dict[str, Any]:
    """Return what the recorder is to do, as a dictionary that JSON can hold.

    `sources` are the sources to record (all); `hz` is one rate for all of them instead of
    `RATES` (`credential` keeps its own). `vantages` are the nodes whose agents tell the
    catalog, `client` the one that discovery and DNS are asked at, as a client there would.
    `vault_token` is the file with the token for `secret` and `credential`, `pids` the file
    that maps programs to process ids; without them these sources are left out. `spares` are
    spare nodes to record too. `ledger` also writes todos that stay, so many a second (True: as
    often as `todo` is asked); `retry` also asks as a client that tries once more. `deadline` is in seconds
    from the recorder's start.

    Raises `LabError` for an unknown source or node, or a rate that cannot be.
    """
    nodes = [*topology.regular(), *(topology[name] for name in spares or [])]
    for name in (*vantages, client):
        if topology[name] not in nodes:
            raise LabError(f"{name} is a spare node that is not recorded; add spares=[{name!r}].")
    wanted = list(rows.SOURCES) if sources is None else sources
    if unknown := [source for source in wanted if source not in RATES]:
        raise LabError(f"There is no source {unknown[0]!r}; the sources are {', '.join(rows.SOURCES)}.")
    for name, rate in (("hz", hz), ("ledger", None if ledger in (False, 0) else ledger)):
        if rate is not None and not 0 < rate <= FASTEST:
            raise LabError(f"{name} is {rate}; it is a rate per second above 0 and up to {FASTEST:g}.")
    needs = {"secret": vault_token, "credential": vault_token, "process": pids}
    rates = {
        source: RATES[source] if hz is None or source == "consul_catalog" else hz
        for source in wanted
        if needs.get(source, Path()) is not None
    }
    if "credential" in rates:
        rates["credential"] = CREDENTIAL_RATE
    return {
        "folder": str(folder),
        "nodes": {node.name: node.address for node in nodes},
        "services": {node.name: node.service for node in nodes if node.service},
        "programs": [f"{node.name}:{program}" for node in nodes for program in node.programs],
        "ports": topology.ports,
        "vantages": list(vantages),
        "client": client,
        "rates": rates,
        "timeouts": {source: TIMEOUTS[source] for source in rates if source in TIMEOUTS},
        "vault_token": None if vault_token is None else str(vault_token),
        "credential_path": "{mount}/creds/{role}".format(**topology.raw["database"]),
        "pids": None if pids is None else str(pids),
        "ledger": rates.get("todo", 0) if ledger is True else float(ledger),
        "retry": retry,
        "deadline": deadline,
        "limit": limit,
    }


def disk_use(spec: dict[str, Any], hours: float = 1.0) -> int:
    """Return the most bytes of JSON lines that a recording writes in this time, about.

    Rows per second times `rows.ROW_BYTES`; the catalog counts as if its agents were silent all
    the time, which is when it writes most.
    """
    vaults, todos = (
        sum(service == name for service in spec["services"].values()) for name in ("vault", "todo")
    )
    lanes = {
        "consul_agent": len(spec["services"]),
        "consul_leader": len(spec["vantages"]),
        "dns": len(NAMES),
        "vault": vaults,
        "secret": vaults + 1,
        "todo": todos + 1 + spec["retry"],
        "credential": 1,
        "process": len(spec["programs"]),
    }
    per_second = sum(rate * lanes.get(source, 0) for source, rate in spec["rates"].items())
    per_second += spec["ledger"]
    if "consul_catalog" in spec["rates"]:
        told = len(spec["nodes"]) + len(spec["services"])
        per_second += told * len(spec["vantages"]) / probes.PACE
    return int(per_second * 3600 * hours * rows.ROW_BYTES)


def probes_for(spec: dict[str, Any], view: probes.View, log: Callable[[dict[str, Any]], None]) -> list[Probe]:
    """Return the probes of a specification; the ones with discovery look into `view`."""
    place = probes.Place(spec["nodes"], spec["services"], spec["ports"])
    of = {
        name: [node for node, service in spec["services"].items() if service == name]
        for name in ("vault", "todo")
    }
    limits = spec["timeouts"]
    token = probes.Token(Path(spec["vault_token"] or "/nonexistent"))
    mark = f"probe {Path(spec['folder']).name}"
    made: list[Probe] = []
    for source in spec["rates"]:
        if source == "consul_agent":
            made += [probes.AgentChecks(n, place, limits[source]) for n in spec["services"]]
        elif source == "consul_leader":
            made += [probes.Leader(n, place, limits[source]) for n in spec["vantages"]]
        elif source == "dns":
            made += [probes.Name(n, spec["client"], place, limits[source]) for n in NAMES]
        elif source == "vault":
            made += [probes.Health(n, place, limits[source]) for n in of["vault"]]
        elif source == "secret":
            limit = limits[source]
            made += [probes.Secret(n, place, limit, None, token) for n in of["vault"]]
            made.append(probes.Secret("vault", place, limit, view, token))
        elif source == "credential":
            path = spec["credential_path"]
            made.append(probes.Credential(place, limits[source], view, token, path))
        elif source == "process":
            made.append(probes.Processes(spec["programs"], Path(spec["pids"])))
        elif source == "todo":
            limit = limits[source]
            made += [probes.ReadWrite(n, place, limit, None, mark) for n in of["todo"]]
            made.append(probes.ReadWrite("todo", place, limit, view, mark))
            if spec["retry"]:
                made.append(probes.Retry(place, limit, view, mark))
            if spec["ledger"]:
                made.append(probes.Ledger(place, limit, view, f"ledger {mark}", log))
    return made


def processor_seconds() -> float:
    """Return the processor time that this process has used, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Recorder:
    """One recording, from the first tick to the last."""

    def __init__(self, spec: dict[str, Any]) -> None:
        """Open the files of the run; a folder without `run.json` becomes a run."""
        self.spec = spec
        self.folder = Path(spec["folder"])
        if not (self.folder / rows.RUN).exists():
            rows.start(self.folder)
        info = rows.run_info(self.folder)
        start = info["clock"]["monotonic"]
        self.clock = lambda: time.monotonic() - start
        columns = rows.COLUMNS
        self._samples = rows.LineFile(self.folder / rows.SAMPLES, columns, spec["limit"])
        self._ledger = rows.LineFile(self.folder / rows.LEDGER) if spec["ledger"] else None
        self._ended = asyncio.Event()
        self._reason = ""
        self._mark: dict[str, Any] = {"pid": os.getpid(), "rates": spec["rates"]}

    def end(self, reason: str) -> None:
        """Ask the recording to end."""
        self._reason = self._reason or reason
        self._ended.set()

    async def record(self) -> None:
        """Record until `end` is called."""
        outlet = Outlet(self.clock, lambda sample: self._samples.append(rows.line(sample)))
        client = self.spec["client"]
        views = {name: probes.View() for name in {*self.spec["vantages"], client}}
        tickers = self._tickers(outlet, views[client])
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.end, "asked")
        loop.add_signal_handler(signal.SIGINT, lambda: None)  # meant for the notebook's group
        listeners = [loop.create_task(self._listen(name, view, outlet)) for name, view in views.items()]
        for ticker in tickers:
            ticker.start()
        self._mark["ready"] = round(self.clock(), 4)
        before = processor_seconds()
        self._note()
        deadline = loop.call_later(self.spec["deadline"], self.end, "deadline")
        while not self._ended.is_set():
            await self._flush()
        deadline.cancel()
        for listener in listeners:
            listener.cancel()
        await asyncio.gather(*listeners, return_exceptions=True)
        await asyncio.gather(*(ticker.stop(GRACE) for ticker in tickers))
        self._finish(tickers, processor_seconds() - before)
        await self._sweep([ticker.probe for ticker in tickers])

    def _tickers(self, outlet: Outlet, view: probes.View) -> list[Ticker]:
        def log(outcome: dict[str, Any]) -> None:
            if self._ledger is not None:
                self._ledger.append({"t": round(self.clock(), 4), **outcome})

        made = probes_for(self.spec, view, log)
        begin = self.clock() + 0.1
        tickers = []
        for number, probe in enumerate(made):
            writes = isinstance(probe, probes.Ledger)
            period = 1 / (self.spec["ledger"] if writes else self.spec["rates"][probe.source])
            # spread over the period by the golden ratio: no two probes share their moment
            first = begin + period * (number * 0.618034 % 1)
            tickers.append(Ticker(probe, period, first, outlet))
        return tickers

    async def _listen(self, vantage: str, view: probes.View, outlet: Outlet) -> None:
        place = probes.Place(self.spec["nodes"], self.spec["services"], self.spec["ports"])
        kept = "consul_catalog" in self.spec["rates"] and vantage in self.spec["vantages"]
        await probes.Catalog(
            vantage,
            place,
            view,
            outlet.clock,
            outlet.write if kept else lambda _: None,
            TIMEOUTS["consul_catalog"],
        ).listen()

    async def _flush(self) -> None:
        try:
            async with asyncio.timeout(FLUSH):
                await self._ended.wait()
        except TimeoutError:
            pass
        try:
            self._samples.flush()
            if self._ledger is not None:
                self._ledger.flush()
        except OSError as error:  # a full disk: what is there is kept, and the mark says why it ended
            print(f"The recording ends: {error.strerror}.", file=sys.stderr)
            self.end("disk")
        if self._samples.full:
            self.end("disk")

    def _note(self) -> None:
        rows.write_whole(self.folder / MARK, self._mark)

    def _finish(self, tickers: list[Ticker], processor: float) -> None:
        for file in (self._samples, self._ledger):
            if file is not None:
                with contextlib.suppress(OSError):  # a full disk, which `_flush` has told
                    file.close()
        late = sorted(late for ticker in tickers for late in ticker.lateness)
        self._mark |= {
            "ended": round(self.clock(), 4),
            "reason": self._reason,
            "processor_seconds": round(processor, 3),
            "ticks": len(late),
            "late_p99": round(late[int(len(late) * 0.99)], 4) if late else None,
            "late_max": round(late[-1], 4) if late else None,
        }
        with contextlib.suppress(OSError):
            self._note()

    async def _sweep(self, asked: list[Probe]) -> None:
        """Remove the todos that failed operations left; one short try, then they stay."""
        failed = [p for p in asked if isinstance(p, probes.ReadWrite) and p.failed]
        for probe in [p for p in failed if p.view is not None][:1] or failed[:1]:
            try:
                async with asyncio.timeout(1):
                    await probe.sweep()
            except (OSError, TimeoutError):
                pass


def main(arguments: list[str]) -> int:
    """Run the recorder of the specification file named; returns the exit code."""
    try:
        if len(arguments) != 1:
            raise LabError("Say which specification to record: python -m helpers.recorder FILE")
        try:
            spec = json.loads(Path(arguments[0]).read_text())
            recorder = Recorder(spec)
        except (OSError, ValueError, KeyError) as error:
            raise LabError(f"{arguments[0]} is not a recorder's specification: {error!r}") from None
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(recorder.record())
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
