"""The table of todos, through one pool of connections per credential.

A new pool is opened and proved before it takes over; the old one drains. When a credential
dies under a statement all the same, the statement gets one more chance on a fresh one, unless
it may have run already and running it twice would make a difference.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, TypeVar

import pymysql
import structlog
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from todo.errors import UnavailableError
from todo.mysql import FAILURES, Dialer, Verdict, closed_by_server, number, reason, verdict
from todo.vault import Credential

POOL_SIZE = 16
POOL_TIMEOUT = 1.0
"""Seconds that a request waits for one of the pool's connections."""
HEALTH_TIMEOUT = 0.6
"""Seconds for the query of /health; Consul's own patience is a second."""
FRESH_TIMEOUT = 1.5
"""Seconds that a request waits for a fresh credential after its own died."""

PROVE = "SELECT id FROM todos LIMIT 1"

T = TypeVar("T")
log = structlog.get_logger("todo.database")


class Pool:
    """The connections of one credential, and one more for the health check.

    The health check has its own, so that it neither waits for busy ones nor lets a busy
    service look dead.
    """

    def __init__(self, dialer: Dialer, credential: Credential) -> None:
        """Open one connection and prove that it may read the table.

        Raises `pymysql.Error` or `NoInstanceError`, and leaves nothing open then.
        """
        self.credential = credential
        self.retired = False
        self._dialer = dialer
        self._health: pymysql.Connection | None = None
        self._health_lock = threading.Lock()
        self._lent = 0
        self._lent_lock = threading.Lock()
        self._pool = QueuePool(
            lambda: dialer.connect(credential),  # type: ignore[arg-type]
            pool_size=POOL_SIZE,
            max_overflow=0,
            timeout=POOL_TIMEOUT,
            reset_on_return=None,  # autocommit: there is never anything to roll back
            use_lifo=True,
        )
        try:
            with self.connection() as connection, closing(connection.cursor()) as cursor:
                cursor.execute(PROVE)
        except Exception:
            self.close()
            raise

    @contextmanager
    def connection(self) -> Iterator[PoolProxiedConnection]:
        """Lend a connection; one that failed, or whose pool is retired, is not kept."""
        self._count(1)
        try:
            lent = self._checkout()
            try:
                yield lent
            except Exception:
                lent.invalidate()
                raise
            finally:
                if self.retired and lent.is_valid:
                    lent.invalidate()
                lent.close()
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._lent_lock:
            self._lent += change

    def _checkout(self) -> PoolProxiedConnection:
        """Take a connection that the server has not closed; after its restart, none is left."""
        while True:
            try:
                lent = self._pool.connect()
            except PoolTimeout:
                raise UnavailableError("all connections to the database are busy") from None
            if not closed_by_server(lent.dbapi_connection):
                return lent
            lent.invalidate()
            lent.close()

    def prove(self) -> None:
        """Read one row at most, on the health check's own connection, in bounded time.

        Raises `pymysql.Error` or `NoInstanceError`. Only one caller at a time asks.
        """
        with self._health_lock:
            try:
                if self._health is None or closed_by_server(self._health):
                    self._health = self._dialer.connect(self.credential, HEALTH_TIMEOUT)
                with closing(self._health.cursor()) as cursor:
                    cursor.execute(PROVE)
            except Exception:
                self._hang_up()
                raise

    @property
    def busy(self) -> int:
        """How many connections are lent right now.

        Not `checkedout()`: `dispose` makes it forget what is lent, and fall below zero when that returns.
        """
        return self._lent

    def retire(self) -> None:
        """Close the idle connections; busy ones close when they come back."""
        self.retired = True
        self._pool.dispose()

    def close(self) -> None:
        """Close everything."""
        self.retire()
        with self._health_lock:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._health is not None:
            with suppress(pymysql.Error):
                self._health.close()
            self._health = None


class Database:
    """The todos. Reads the current pool at every statement; the rotation swaps it."""

    def __init__(self, dialer: Dialer, fresh: Callable[[Credential, float], bool]) -> None:
        """Prepare; `fresh(dead, seconds)` waits for a credential other than `dead`."""
        self._dialer = dialer
        self._fresh = fresh
        self._pool: Pool | None = None
        self.why = "the service is starting"

    @property
    def pool(self) -> Pool | None:
        """The current pool, or None before the first and after `drop`."""
        return self._pool

    def adopt(self, credential: Credential) -> Pool | None:
        """Open and prove a pool for `credential`, let it take over, return the old one.

        Raises `pymysql.Error` or `NoInstanceError`; the old pool stays in use then.
        """
        new = Pool(self._dialer, credential)
        old, self._pool = self._pool, new
        if old is not None:
            old.retire()
        return old

    def drop(self, why: str) -> None:
        """Close the pool without another one; requests get 503 with `why` from now on."""
        old, self._pool, self.why = self._pool, None, why
        if old is not None:
            old.close()

    def all(self) -> list[dict[str, Any]]:
        """Return every todo in the order of the ids."""
        return self._run("SELECT id, status, content FROM todos ORDER BY id", (), _rows)

    def get(self, todo_id: int) -> dict[str, Any] | None:
        """Return one todo, or None."""
        sql = "SELECT id, status, content FROM todos WHERE id = %s"
        found = self._run(sql, (todo_id,), _rows)
        return found[0] if found else None

    def insert(self, status: str, content: str) -> int:
        """Store a todo and return its id, which the database chooses."""
        sql = "INSERT INTO todos (status, content) VALUES (%s, %s)"
        return self._run(sql, (status, content), lambda c: int(c.lastrowid), repeatable=False)

    def update(self, todo_id: int, status: str, content: str) -> bool:
        """Replace a todo; False when there is none with this id."""
        sql = "UPDATE todos SET status = %s, content = %s WHERE id = %s"
        return self._run(sql, (status, content, todo_id), lambda c: bool(c.rowcount == 1))

    def delete(self, todo_id: int) -> bool:
        """Delete a todo; False when there is none with this id.

        Not repeated when it may have run: the second time would say that there was none.
        """
        sql = "DELETE FROM todos WHERE id = %s"
        return self._run(sql, (todo_id,), lambda c: bool(c.rowcount == 1), repeatable=False)

    def _run(
        self,
        sql: str,
        values: tuple[object, ...],
        take: Callable[[Any], T],
        repeatable: bool = True,
    ) -> T:
        """Run a statement, a second time if that is safe and promises something.

        Raises `UnavailableError`, with a reason for the client.
        """
        pool = self._current()
        try:
            return self._once(pool, sql, values, take)
        except FAILURES as error:
            what = verdict(error, repeatable)
            log.warning("statement_failed", error=number(error), then=what.value)
            if what is Verdict.GIVE_UP:
                raise UnavailableError(reason(error)) from error
            if what is Verdict.FRESH:
                self._fresh(pool.credential, FRESH_TIMEOUT)
        try:
            return self._once(self._current(), sql, values, take)
        except FAILURES as error:
            raise UnavailableError(reason(error)) from error

    def _current(self) -> Pool:
        pool = self._pool
        if pool is None:
            raise UnavailableError(self.why)
        return pool

    @staticmethod
    def _once(pool: Pool, sql: str, values: tuple[object, ...], take: Callable[[Any], T]) -> T:
        with pool.connection() as connection, closing(connection.cursor()) as cursor:
            cursor.execute(sql, values)
            return take(cursor)


def _rows(cursor: Any) -> list[dict[str, Any]]:
    return [
        {"id": todo_id, "status": status or "", "content": content or ""}
        for todo_id, status, content in cursor.fetchall()
    ]
