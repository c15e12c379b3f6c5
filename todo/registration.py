"""This instance in Consul: registered by itself, once it works, and taken out before it stops."""

from __future__ import annotations

import threading
from typing import Any

import consul
import requests
import structlog

from todo.discovery import ConsulClient
from todo.settings import ServiceSettings

LOOK = 10.0
"""Seconds between two looks whether the agent still knows this instance."""
RETRY = 1.0
"""Seconds after which an agent that is away is asked again."""
FAILURES = (consul.ConsulException, requests.RequestException, ValueError)

log = structlog.get_logger("todo.registration")


def check(settings: ServiceSettings) -> dict[str, Any]:
    """Return Consul's check of this instance: its /health, passing from the start.

    Without the initial status Consul calls a new service critical until its first check.
    """
    host = f"[{settings.host}]" if ":" in settings.host else settings.host  # IPv6
    definition: dict[str, Any] = consul.Check.http(
        f"http://{host}:{settings.port}/health",
        interval=f"{settings.check_interval:g}s",
        timeout=f"{settings.check_timeout:g}s",
    )
    return {**definition, "status": "passing"}


class Registration:
    """Keeps this instance known to the local agent, from the moment it has proved itself."""

    def __init__(self, settings: ServiceSettings, proved: threading.Event) -> None:
        """Prepare; `proved` is set by whoever knows that the service works."""
        self._settings = settings
        self._proved = proved
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="registration", daemon=True)

    def start(self) -> None:
        """Start the thread that registers, and registers again if the agent forgot."""
        self._thread.start()

    def stop(self) -> None:
        """Take this instance out of Consul; an agent that is away is only mentioned."""
        self._stop.set()
        if not self._proved.is_set():
            return
        self._thread.join(1.0)
        try:
            ConsulClient(self._settings.consul).agent.service.deregister(self._settings.name)
            log.info("deregistered", service=self._settings.name)
        except FAILURES as error:
            log.warning("not_deregistered", error=type(error).__name__)

    def _run(self) -> None:
        self._proved.wait()
        client = ConsulClient(self._settings.consul)
        registered = False
        while not self._stop.is_set():
            try:
                # Once, and again only if it is missing: a first registration says `passing` before any check.
                if not registered or self._settings.name not in client.agent.services():
                    self._register(client)
                    registered = True
                self._stop.wait(LOOK)
            except FAILURES as error:
                log.warning("consul_away", error=type(error).__name__)
                self._stop.wait(RETRY)

    def _register(self, client: ConsulClient) -> None:
        settings = self._settings
        client.agent.service.register(
            "todo",
            service_id=settings.name,
            address=settings.host,
            port=settings.port,
            check=check(settings),
        )
        log.info("registered", service=settings.name, address=settings.host, port=settings.port)
