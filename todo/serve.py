"""The service's life: bind, prove itself, register, serve, drain, end (twelve factors: VII, IX)."""

from __future__ import annotations

import asyncio
import socket
import time
from types import FrameType

import structlog
import uvicorn

from todo import app, logs
from todo.credentials import Rotation, source
from todo.database import Database
from todo.discovery import Watcher, forget_environment
from todo.errors import EXIT_FAILED, RefusalError
from todo.health import Checker
from todo.mysql import Dialer
from todo.registration import Registration
from todo.settings import ServiceSettings

END_WITHIN = 5.0
"""Seconds from SIGTERM to the end of the process, at most."""
PRE_DRAIN = 1.0
"""Seconds for which the service still takes requests after it left Consul: whoever looked it up
just before comes through, and whoever reuses a connection is told to close it."""
IN_FLIGHT = 2
"""Seconds that requests in flight are given after that; none takes longer (`database`)."""

log = structlog.get_logger("todo.serve")


def bind(host: str, port: int) -> socket.socket:
    """Take the port before anything else: the secret id is not wasted on a port that is taken.

    Raises `RefusalError` with one sentence.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise RefusalError(
            f"todo cannot listen on {host}:{port} ({error.strerror}): stop what uses it, "
            "or set TODO_HOST and TODO_PORT.",
            EXIT_FAILED,
        ) from error
    return listener


class Server(uvicorn.Server):
    """uvicorn, but a signal starts our drain, and the process ends with exit code 0."""

    def __init__(self, config: uvicorn.Config, checker: Checker, registration: Registration) -> None:
        """Prepare to serve; on SIGTERM `checker` and `registration` are told first."""
        super().__init__(config)
        self.refusal: RefusalError | None = None
        self.ends_at: float | None = None
        self._checker = checker
        self._registration = registration
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drain: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to serve, and remember the loop for the signals."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; a second signal ends the process at once.

        uvicorn's own method would have the signal raised again at the end: exit code 143.
        """
        if self.ends_at is not None or self._loop is None:
            self.should_exit = self.force_exit = True
            return
        self.ends_at = time.monotonic() + END_WITHIN
        self._loop.call_soon_threadsafe(self._begin_to_drain)

    def refuse(self, refusal: RefusalError) -> None:
        """End because of `refusal`; called from another thread."""
        log.critical("alarm", reason=str(refusal))
        self.refusal = refusal
        self.should_exit = True

    def _begin_to_drain(self) -> None:
        self._drain = asyncio.ensure_future(self._leave())

    async def _leave(self) -> None:
        self._checker.draining = True
        log.info("draining")
        await asyncio.gather(asyncio.to_thread(self._registration.stop), asyncio.sleep(PRE_DRAIN))
        self.should_exit = True


def serve(settings: ServiceSettings) -> None:
    """Run the service until SIGTERM.

    Raises `RefusalError` when the port is taken, or the secret id is not to be had.
    """
    listener = bind(settings.host, settings.port)
    logs.configure(settings.log_level, settings.name)
    forget_environment()
    vault = None if settings.fixed else Watcher(settings.consul, "vault").start()
    mysql = Watcher(settings.consul, "mysql").start()

    rotation = Rotation(
        source(settings, vault),
        settings.on_vault_loss,
        on_refusal=lambda refusal: server.refuse(refusal),
    )
    database = Database(Dialer(mysql.all, settings.database_name), rotation.fresh)
    checker = Checker(
        settings.name, settings.health == "deep", database, rotation, with_vault=vault is not None
    )
    registration = Registration(settings, rotation.proved)
    server = Server(
        uvicorn.Config(
            app.build(database, checker, settings.body_limit, settings.content_limit),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=IN_FLIGHT,
        ),
        checker,
        registration,
    )
    rotation.start(database)
    registration.start()
    log.info("started", host=settings.host, port=settings.port, vault=vault is not None)
    server.run(sockets=[listener])
    ends_at = server.ends_at or time.monotonic() + 1.0
    database.drop("the service is stopping")
    rotation.stop(max(0.5, ends_at - time.monotonic() - 0.5))
    log.info("stopped")
    if server.refusal is not None:
        raise server.refusal
