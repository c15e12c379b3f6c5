"""Saying what takes long: how far it is, every second on a terminal, every ten seconds elsewhere."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

Say = Callable[[str], None]

PLAIN_INTERVAL = 10.0  # seconds between lines where nobody can rewrite the last one
_LAST_LINES = 12


class CommandError(Exception):
    """A command ended with an error; the text is the end of what it printed."""


def say(text: str) -> None:
    """Print a line at once, also through a pipe, and never wrapped."""
    print(text, flush=True)


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds: `4:07`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


@contextmanager
def ticking(describe: Callable[[], str], interval: float = PLAIN_INTERVAL) -> Iterator[None]:
    """Show `describe()` and the time since the beginning, again and again until the block ends."""
    begun = time.monotonic()
    ended = threading.Event()
    console = Console()

    def text() -> str:
        return f"  {clock(time.monotonic() - begun)}  {describe()}"

    def tick() -> None:
        if console.is_terminal:
            with console.status(text()) as status:
                while not ended.wait(1):
                    status.update(text())
        else:
            while not ended.wait(interval):
                say(text())

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def watch(
    command: Sequence[str | Path],
    describe: Callable[[int], str],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run a command and show `describe(lines it printed)` meanwhile; raises `CommandError`.

    Interrupted, it ends the command, waits for it, and passes the interrupt on.
    """
    last: deque[str] = deque(maxlen=_LAST_LINES)
    count = 0
    with subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            with ticking(lambda: describe(count)):
                for line in process.stdout:
                    count += 1
                    last.append(line.rstrip())
        except BaseException:
            process.send_signal(signal.SIGINT)  # Go and uv clean up on it
            raise
    if process.returncode:
        raise CommandError("\n".join(last) or f"it ended with {process.returncode}")
