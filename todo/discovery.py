"""Where Vault and MySQL are, as the Consul agent beside this service knows it.

One thread per service keeps a list of the passing instances by blocking queries: the agent
answers as soon as something changes, or after `WAIT` seconds. A request never waits for
Consul. While the agent is away, and while no instance passes, the last known list stays: a
connection that is refused costs a millisecond, a list thrown away costs the service.

Sources: Consul's HTTP API, "Blocking Queries" (the index may go backwards after a server was
restored, then the query starts anew) and "Health: list service instances".
"""

from __future__ import annotations

import os
import random
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import consul
import requests
import structlog

from todo.errors import NoInstanceError

WAIT = 30
"""Seconds that the agent may hold a blocking query; it adds up to a sixteenth of it."""
QUICK = (1.0, 1.0)
"""Seconds to connect, seconds to answer: for calls that the agent answers at once."""
FIRST_ANSWER = 1.0
"""Seconds that the start waits for the agent's first answer instead of failing at once."""
RETRY = (0.2, 5.0)
"""Seconds before the first and (at most) before any further attempt when the agent is away."""

log = structlog.get_logger("todo.discovery")


@dataclass(frozen=True)
class Instance:
    """One passing instance of a service."""

    address: str
    port: int
    tags: frozenset[str] = frozenset()


class ConsulClient(consul.Consul):
    """python-consul with a time-out, and without the proxies of the environment.

    python-consul 1.1.0 waits for ever for an agent that is stopped in the middle of a call.
    """

    def __init__(self, address: str, timeout: tuple[float, float] = QUICK) -> None:
        """Talk to the agent at `http://HOST:PORT`; one client serves one thread."""
        self._timeout = timeout
        parts = urlsplit(address)
        super().__init__(host=parts.hostname, port=parts.port, scheme=parts.scheme)

    def connect(self, host: str, port: int, scheme: str, verify: Any = True, cert: Any = None) -> Any:
        """Build python-consul's HTTP client, with the time-out put under its session."""
        http = super().connect(host, port, scheme, verify, cert)
        limit = self._timeout

        class Limited(requests.adapters.HTTPAdapter):
            def send(self, request: Any, timeout: Any = None, **more: Any) -> requests.Response:  # type: ignore[override]
                return super().send(request, timeout=timeout or limit, **more)

        http.session.trust_env = False
        for prefix in ("http://", "https://"):
            http.session.mount(prefix, Limited())
        return http


def forget_environment() -> None:
    """Take Consul's variables out of the process's environment once the settings are read.

    python-consul lets them win over its arguments and refuses an address with a scheme.
    """
    for name in [name for name in os.environ if name.startswith("CONSUL_HTTP_")]:
        del os.environ[name]


def next_index(known: str | None, answered: str | None) -> str | None:
    """Return the index for the next blocking query: none when Consul's index went backwards."""
    if answered is None or int(answered) <= 0:
        return None
    if known is not None and int(answered) < int(known):
        return None
    return answered


def instances(entries: list[dict[str, Any]]) -> tuple[Instance, ...]:
    """Read the answer of Consul's health API; an instance without an address has its node's."""
    return tuple(
        Instance(
            address=entry["Service"].get("Address") or entry["Node"]["Address"],
            port=entry["Service"]["Port"],
            tags=frozenset(entry["Service"].get("Tags") or ()),
        )
        for entry in entries
    )


class Watcher:
    """Knows the passing instances of one service, kept up to date by a thread of its own."""

    def __init__(self, agent: str, service: str) -> None:
        """Prepare to watch `service` through the agent at `http://HOST:PORT`."""
        self.service = service
        self._client = ConsulClient(agent, timeout=(1.0, WAIT * 17 / 16 + 5))
        self._known: tuple[Instance, ...] = ()
        self._answered = threading.Event()
        self._found = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"watch-{service}", daemon=True)

    def start(self) -> Watcher:
        """Start the thread; it ends with the process."""
        self._thread.start()
        return self

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until an instance is known."""
        return self._found.wait(timeout)

    def all(self) -> list[Instance]:
        """Return the known instances in random order; only the first answer is waited for.

        Raises `NoInstanceError` when Consul never named one.
        """
        self._answered.wait(FIRST_ANSWER)
        known = list(self._known)
        if not known:
            raise NoInstanceError(self.service)
        random.shuffle(known)
        return known

    def _watch(self) -> None:
        index: str | None = None
        pause = RETRY[0]
        while True:
            try:
                answered, entries = self._client.health.service(
                    self.service, index=index, wait=f"{WAIT}s", passing=True
                )
            except (consul.ConsulException, requests.RequestException, ValueError) as error:
                log.warning("consul_away", service=self.service, error=type(error).__name__)
                index = None
                time.sleep(random.uniform(pause / 2, pause))
                pause = min(pause * 2, RETRY[1])
                continue
            pause = RETRY[0]
            index = next_index(index, answered)
            self._learn(instances(entries))
            self._answered.set()
            if index is None:
                time.sleep(RETRY[0])  # without an index the next answer comes at once

    def _learn(self, found: tuple[Instance, ...]) -> None:
        if not found:
            if self._known:
                log.warning("none_passes", service=self.service, kept=_names(self._known))
            return
        if set(found) != set(self._known):
            log.info("discovered", service=self.service, instances=_names(found))
        self._known = found
        self._found.set()


def _names(known: tuple[Instance, ...]) -> list[str]:
    return sorted(f"{instance.address}:{instance.port}" for instance in known)
