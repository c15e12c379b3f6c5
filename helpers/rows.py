"""One row of a recording, the rule that gives it its state, and the files it is kept in.

Nothing here needs pandas: the recorder starts in a fraction of a second and stays small.
`helpers/records.py` reads the same files back as tables.

Times are seconds since the run's start on the machine's monotonic clock, which all its
processes share. The vocabulary and the state rules are those of a monitoring system that
never guesses: a source that gives no answer is `unknown`, not `down`. Only where the probe
itself is the user (vault, secret, todo, credential) is a refused connection or a time-out
the truth about the target, and therefore `down`.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from helpers.errors import LabError

SOURCES = (
    "consul_catalog",
    "consul_agent",
    "consul_leader",
    "dns",
    "vault",
    "secret",
    "todo",
    "credential",
    "process",
)
STATES = ("up", "degraded", "down", "unknown")
ERRORS = (
    "none",
    "refused",
    "timeout",
    "reset",
    "nxdomain",
    "servfail",
    "http_4xx",
    "http_5xx",
    "overrun",
    "other",
)
PHASES = ("inject", "heal", "auto", "note", "steady")

#: Sources that report about others; their silence says nothing about what they report on.
OBSERVERS = frozenset({"consul_catalog", "consul_agent", "consul_leader", "dns"})
#: Those of them whose empty answer is one: nobody of that name, no leader.
NAMERS = frozenset({"consul_leader", "dns"})

#: Raw texts of samples that tell nothing about their target, always `unknown`: cut off by the
#: end of the recording, missed because the recorder itself slept, no token to ask with.
NOT_ASKED = frozenset({"ended", "missed", "no token"})

_CHECK = {"passing": "up", "warning": "degraded", "critical": "down", "absent": "down"}
_PROCESS = {"running": "up", "stopped": "degraded", "gone": "down"}
#: Meaning of the codes of Vault's `/v1/sys/health`: its API documentation. 472 and 474 are
#: standbys that cannot do a standby's work, 530 is a node removed from its cluster.
_VAULT = {
    "200": "up",
    "429": "up",
    "473": "up",
    "472": "degraded",
    "474": "degraded",
    "500": "down",
    "501": "down",
    "503": "down",
    "530": "down",
}

SAMPLES = "samples.jsonl"
EVENTS = "events.jsonl"
LEDGER = "ledger.jsonl"
RUN = "run.json"

#: Upper bound of a row's mean length on disk in bytes; rows seen in real recordings have 85-110.
ROW_BYTES = 130


class Sample(NamedTuple):
    """One answer, or the lack of one.

    `due`, `sent`, `done` are seconds since the run's start; `done` is NaN when the question
    got no answer of its own. `seq` is the number of the tick within its lane (source,
    vantage, target, check). `consul_index` (column `index`) is Consul's index, if there is one.
    """

    seq: int
    due: float
    sent: float
    done: float
    source: str
    vantage: str
    target: str
    check: str
    state: str
    raw: str
    error: str
    consul_index: int | None = None


#: The columns of a sample on disk and in a table.
COLUMNS = [*Sample._fields[:-1], "index"]


def state_of(source: str, raw: str, error: str) -> str:
    """Return the state that a raw answer stands for: the one place with this rule.

    `raw` is what the source said, `error` why it said nothing. Raises `KeyError` for a raw
    text that the source cannot say.
    """
    if raw in NOT_ASKED:
        return "unknown"
    if source in OBSERVERS:
        if error == "nxdomain":
            return "down"
        if error != "none":
            return "unknown"
        if source in ("consul_catalog", "consul_agent"):
            return _CHECK[raw.partition(" ")[0]]
        return "up" if raw else "down"
    if source == "process":
        return _PROCESS[raw] if error == "none" else "unknown"
    if source == "vault":
        return _VAULT.get(raw, "down")
    return "up" if error == "none" and raw[:1] == "2" else "down"


def error_of(status: int) -> str:
    """Return the error category of an HTTP status; redirects, never followed, are `other`."""
    if status < 300:
        return "none"
    if status < 400:
        return "other"
    return "http_4xx" if status < 500 else "http_5xx"


_compact = json.JSONEncoder(separators=(",", ":")).encode


class LineFile:
    """A file of JSON lines that one process appends to and others may read meanwhile.

    Lines are collected in memory and handed to the operating system by `flush`, whole lines
    in one write. A killed writer loses what it had not flushed, nothing else; the page cache
    survives it. There is no fsync while recording: one can take longer than several ticks,
    and a recording does not have to survive a power cut. `close` does it once.
    """

    def __init__(self, path: Path, header: list[str] | None = None, limit: int = 2**63) -> None:
        """Open `path` for appending; `header` is written if the file is new.

        `limit` is the size in bytes at which `full` turns true.
        """
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self._lines: list[str] = []
        self._size = os.fstat(self._fd).st_size
        self._limit = limit
        if self._size == 0 and header is not None:
            self.append(header)
        elif self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            self._lines.append("")  # ends the half line that a killed writer left

    def append(self, value: Any) -> None:
        """Add one value as a line; NaN must already be None."""
        self._lines.append(_compact(value))

    @property
    def full(self) -> bool:
        """Whether the file has reached its limit."""
        return self._size >= self._limit

    def flush(self) -> None:
        """Hand everything to the operating system."""
        if self._lines:
            data = ("\n".join(self._lines) + "\n").encode()
            self._lines.clear()
            try:
                while data:
                    data = data[os.write(self._fd, data) :]
            except OSError:
                self._lines.append(data.decode(errors="ignore").removesuffix("\n"))  # once more with the next
                raise
            finally:
                self._size = os.lseek(self._fd, 0, os.SEEK_END)

    def close(self) -> None:
        """Flush, force to disk, close."""
        self.flush()
        os.fsync(self._fd)
        os.close(self._fd)


def line(sample: Sample) -> list[Any]:
    """Return a sample as it is kept: a list in column order, times to 0.1 ms, NaN as null."""
    values = list(sample)
    values[1] = round(sample.due, 4)
    values[2] = round(sample.sent, 4)
    values[3] = None if math.isnan(sample.done) else round(sample.done, 4)
    return values


def whole_lines(path: Path) -> list[Any]:
    """Return the values of all complete lines of a JSON lines file; none if it is missing.

    A writer that was killed in the middle of a line leaves a half one; it is left out.
    """
    values = []
    for text in path.read_text().split("\n") if path.exists() else []:
        try:
            values.append(json.loads(text))
        except ValueError:
            continue
    return values


def start(folder: Path, **info: Any) -> dict[str, Any]:
    """Create a run's folder with its `run.json` and return that file's content.

    `info` goes into it as it is. The clock's anchors are added: the run's start (t = 0) on
    the monotonic clock, and the wall clock's reading at that moment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    info = {**info, "clock": {"monotonic": time.monotonic(), "wall": time.time()}}
    write_whole(folder / RUN, info)
    return info


def run_info(folder: Path) -> dict[str, Any]:
    """Return `run.json`; raises `LabError` when the folder has none."""
    path = folder / RUN
    if not path.exists():
        raise LabError(f"There is no recording in {folder}; a recording has a file {RUN}.")
    info: dict[str, Any] = json.loads(path.read_text())
    return info


def now(info: dict[str, Any]) -> float:
    """Return the seconds since the start of the run with this `run.json`."""
    return time.monotonic() - float(info["clock"]["monotonic"])


def write_whole(path: Path, value: Any) -> None:
    """Write a JSON file so that a reader sees the old content or the new, never a part."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(value, indent=1) + "\n")
    draft.replace(path)


def append_event(
    folder: Path,
    *,
    phase: str,
    t_begin: float,
    t_end: float,
    fault: str = "",
    target: str = "",
    params: dict[str, Any] | None = None,
    ok: bool = True,
    message: str = "",
    bounds: dict[str, list[float]] | None = None,
) -> int:
    """Append one event to a run and return its id (1, 2, …).

    `t_begin` and `t_end` are seconds since the run's start, taken right before and right
    after the call that did it. Several processes may append at once: a file lock
    keeps ids unique. Raises `LabError` for an unknown
    phase or for edges in the wrong order.
    """
    if phase not in PHASES:
        raise LabError(f"There is no event phase {phase!r}; the phases are {', '.join(PHASES)}.")
    if t_end < t_begin:
        raise LabError(f"The event {phase} {fault} would end before it begins: swap the edges.")
    path = folder / EVENTS
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        number = 1 + max((event["id"] for event in whole_lines(path)), default=0)
        event = {
            "id": number,
            "t_begin": round(t_begin, 4),
            "t_end": round(t_end, 4),
            "phase": phase,
            "fault": fault,
            "target": target,
            "params": json.dumps(params or {}),
            "ok": ok,
            "message": message,
            "bounds": json.dumps(bounds or {}),
        }
        lines = LineFile(path)
        lines.append(event)
        lines.close()
    return number
