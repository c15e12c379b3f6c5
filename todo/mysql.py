"""Connections to MySQL, and what its errors mean for the credential behind them.

MySQL's error reference says which error is which; MariaDB's numbers are the same here.
1044, 1045, 1142, 1143: the user is gone or may not: the statement did nothing.
2006: the statement could not be sent. 2013, 2055: the connection broke before the answer came,
the statement may have run.
"""

from __future__ import annotations

import select
import ssl
from collections.abc import Callable
from enum import Enum
from typing import Any

import pymysql
from pymysql.constants import CLIENT

from todo.discovery import Instance
from todo.errors import NoInstanceError, UnavailableError
from todo.vault import Credential

CONNECT_TIMEOUT = 1.0
"""Seconds to open a TCP connection to MySQL."""
ANSWER_TIMEOUT = 2.0
"""Seconds to any answer of MySQL: a server that stopped costs a request this and no more."""

DENIED = frozenset({1044, 1045, 1142, 1143})
UNSENT = frozenset({2006})
BROKEN = frozenset({2013, 2055})

FAILURES = (pymysql.Error, NoInstanceError, UnavailableError)
"""What a statement may raise when the database, not this program, is at fault."""


class Verdict(Enum):
    """What to do with a statement that failed."""

    FRESH = "retry with a fresh credential"
    RECONNECT = "retry on a new connection"
    GIVE_UP = "give up"


def verdict(error: Exception, repeatable: bool) -> Verdict:
    """Decide about a statement that failed with `error`.

    `repeatable` says whether running it twice does the same as running it once. A time-out
    is not tried again: the server is busy or stopped, and the client has waited enough.
    """
    code = number(error)
    if code in DENIED:
        return Verdict.FRESH
    if isinstance(error.__context__, TimeoutError):
        return Verdict.GIVE_UP
    if code in UNSENT or (code in BROKEN and repeatable):
        return Verdict.RECONNECT
    return Verdict.GIVE_UP


def number(error: BaseException) -> int | None:
    """Return MySQL's number of an error, if it has one."""
    return error.args[0] if error.args and isinstance(error.args[0], int) else None


def reason(error: Exception) -> str:
    """Say in a few words, and without a name or address, why the database does not serve."""
    if isinstance(error, NoInstanceError | UnavailableError):
        return str(error)
    code = number(error)
    if isinstance(error.__context__, TimeoutError):
        return f"the database does not answer in time{_doubt(code)} (MySQL error {code})"
    if code in DENIED:
        return f"the database refuses the credential (MySQL error {code})"
    if code in UNSENT | BROKEN | {2003}:
        return f"the connection to the database is lost{_doubt(code)} (MySQL error {code})"
    if code in (1049, 1146):
        return f"the table is missing: the migration has not run (MySQL error {code})"
    return f"the database failed (MySQL error {code})" if code else "the database failed"


def _doubt(code: int | None) -> str:
    return ", whether the statement ran is not known" if code in BROKEN else ""


class Dialer:
    """Opens connections to the MySQL that discovery names at that moment."""

    def __init__(self, instances: Callable[[], list[Instance]], database: str | None) -> None:
        """Prepare to connect to one of `instances`, with `database` selected."""
        self._instances = instances
        self._database = database
        self._tls: ssl.SSLContext | None = None

    def connect(self, credential: Credential, timeout: float = ANSWER_TIMEOUT) -> pymysql.Connection:
        """Open a connection; `timeout` bounds each later answer, in seconds.

        Raises `pymysql.Error` or `NoInstanceError`.
        """
        instance = self._instances()[0]
        arguments: dict[str, Any] = {
            "host": instance.address,
            "port": instance.port,
            "user": credential.user,
            "password": credential.password,
            "database": self._database,
            "charset": "utf8mb4",
            "autocommit": True,
            # An UPDATE that changes nothing still found its row.
            "client_flag": CLIENT.FOUND_ROWS,
            "connect_timeout": min(CONNECT_TIMEOUT, timeout),
            "read_timeout": timeout,
            "write_timeout": timeout,
        }
        if self._tls is None:
            try:
                # PyMySQL would load the system's certificates for every connection (40 ms).
                return pymysql.connect(ssl_disabled=True, **arguments)
            except RuntimeError:
                # MySQL 8 and 9 take a new user's password (caching_sha2_password) over TLS only.
                self._tls = _encrypted_only()
        return pymysql.connect(ssl=self._tls, **arguments)


def _encrypted_only() -> ssl.SSLContext:
    """TLS without a look at the certificate, which such a server made for itself."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def closed_by_server(connection: Any) -> bool:
    """Whether the server has hung up an idle connection, without asking it.

    An idle MySQL connection has nothing to read; if there is, it is the end of the stream.
    This costs microseconds and spares a statement the doubt of error 2013.
    """
    sock = connection._sock
    if sock is None:
        return True
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
