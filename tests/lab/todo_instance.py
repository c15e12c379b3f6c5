"""One more instance of todo for a test or a benchmark: an own process on a port of its own."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from helpers import Lab
from helpers.home import write_private
from helpers.topology import REPOSITORY

START = 20.0
"""Seconds to a healthy answer: a second and a half of work, and a machine that does other things."""
END = 5.0
"""Seconds from SIGTERM to the end that todo promises."""


def new_session() -> requests.Session:
    """Return a session that no proxy of the environment comes between."""
    session = requests.Session()
    session.trust_env = False
    return session


def until(condition: Callable[[], Any], seconds: float) -> bool:
    """Poll `condition` for at most `seconds`; say whether it came true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def secret_id(lab: Lab, file: Path, wrap_ttl: str = "120s") -> str:
    """Write a new wrapping token into `file`; return it."""
    answer = lab.active_vault().auth.approle.generate_secret_id("todo", wrap_ttl=wrap_ttl)
    token: str = answer["wrap_info"]["token"]
    write_private(file, token)
    return token


class Instance:
    """A todo beside those of the lab, on the node todo0 with its agent. A context manager."""

    def __init__(self, lab: Lab, folder: Path, port: int, **variables: str) -> None:
        """Prepare; `variables` win over the usual ones, and an empty one takes its variable away."""
        self.name = f"todo-{port}"
        node = lab.topology["todo0"]
        self.url = f"http://{node.address}:{port}"
        self.log = folder / f"{self.name}.log"
        file = folder / f"{self.name}.secret"
        self.wrapping_token = secret_id(lab, file)
        role = lab.active_vault().auth.approle.read_role_id("todo")["data"]["role_id"]
        usual = {
            "PATH": os.environ["PATH"],
            "TODO_NAME": self.name,
            "TODO_HOST": node.address,
            "TODO_PORT": str(port),
            "CONSUL_HTTP_ADDR": f"http://{node.address}:{lab.topology.ports['consul_http']}",
            "TODO_ROLE_ID": role,
            "TODO_SECRET_ID_FILE": str(file),
        }
        self.environment = {name: value for name, value in {**usual, **variables}.items() if value}
        self.process: subprocess.Popen[bytes]

    def start(self) -> Instance:
        """Start the process."""
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "todo"],
                env=self.environment,
                cwd=REPOSITORY,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        return self

    def end(self, at_most: float = END) -> int:
        """Ask it to end (TERM); return its exit code. It is killed after `at_most` seconds."""
        self.process.terminate()
        try:
            return self.process.wait(at_most)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()

    def healthy(self) -> bool:
        """Say whether /health says 200; raise when the process has ended."""
        if self.process.poll() is not None:
            raise AssertionError(f"todo ended with {self.process.returncode}: {self.told()}")
        return self.health()[0] == 200

    def health(self) -> tuple[int, dict[str, Any]]:
        """Return the code and body of /health; code 0 while nobody listens."""
        try:
            with new_session() as session:
                answer = session.get(f"{self.url}/health", timeout=2)
                return answer.status_code, answer.json()
        except requests.RequestException:
            return 0, {}

    def told(self) -> str:
        """Return the end of its log."""
        return self.log.read_text()[-800:]

    def events(self, name: str) -> int:
        """Count the log's lines of one event."""
        return self.log.read_text().count(f'"event": "{name}"')

    def __enter__(self) -> Instance:
        """Start, and wait until it is healthy."""
        self.start()
        try:
            if not until(self.healthy, START):
                raise AssertionError(f"not healthy after {START:g} s: {self.told()}")
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End the process, if the test has not."""
        if self.process.poll() is None:
            self.end()


@contextmanager
def lease(lab: Lab, seconds: int) -> Iterator[None]:
    """Give the database role another lease for a while."""
    database = lab.topology.raw["database"]
    path = f"{database['mount']}/roles/{database['role']}"
    lab.active_vault().write_data(path, data={"default_ttl": f"{seconds}s"})
    try:
        yield
    finally:
        lab.active_vault().write_data(path, data={"default_ttl": f"{database['lease']}s"})


class Load:
    """Clients that write a todo and delete it, again and again, until told to stop.

    They speak plain `http.client`: a heavier client would measure itself.
    """

    def __init__(self, url: str, clients: int) -> None:
        """Prepare `clients` clients of the service at `url`."""
        self.codes: Counter[str] = Counter()
        self.failures: list[str] = []
        self.seconds: list[float] = []
        self._address = url.removeprefix("http://")
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._client, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Load:
        """Let the clients loose."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them, each after its current request."""
        self._stop.set()
        for thread in self._threads:
            thread.join(15)

    @property
    def total(self) -> int:
        """How many requests were answered."""
        return sum(self.codes.values())

    def _client(self) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=10)
        while not self._stop.is_set():
            place = self._ask(connection, "POST", "/todo", 201, b'{"status": "new", "content": "load"}')
            if place is not None:
                self._ask(connection, "DELETE", f"/{place}", 204)
            else:
                self._stop.wait(0.05)
        connection.close()

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        wanted: int,
        body: bytes | None = None,
    ) -> str | None:
        """Send one request; return the `Location` of the answer, None when it was not the wanted one."""
        begin = time.perf_counter()
        place = None
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            told = answer.read()[:200].decode()
            code = str(answer.status)
            if answer.status == wanted:
                place = answer.headers.get("Location", "")
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            code, told = type(error).__name__, str(error)
        with self._lock:
            self.codes[f"{method} {code}"] += 1
            self.seconds.append(time.perf_counter() - begin)
            if place is None:
                self.failures.append(f"{method} {code}: {told}")
        return place
