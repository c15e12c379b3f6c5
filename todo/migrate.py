"""The one-off admin process (twelve factors: XII): create the table, if it is not there.

It runs with a credential of its own that lives for seconds and may do more than the service's.
"""

from __future__ import annotations

import time
from contextlib import closing

import pymysql
import structlog
import tenacity

from todo import logs
from todo.credentials import Source, source
from todo.discovery import Watcher, forget_environment
from todo.errors import RefusalError
from todo.mysql import Dialer, reason
from todo.settings import COLUMN_CONTENT, COLUMN_STATUS, Settings
from todo.vault import AWAY

PATIENCE = 30.0
"""Seconds to wait for Vault and MySQL to be found and to answer."""

TABLE = f"""
CREATE TABLE IF NOT EXISTS todos (
    id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    status VARCHAR({COLUMN_STATUS}) NOT NULL DEFAULT '',
    content VARCHAR({COLUMN_CONTENT}) NOT NULL DEFAULT ''
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4
"""
EXISTS = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = %s AND table_name = 'todos'"

log = structlog.get_logger("todo.migrate")


def migrate(settings: Settings) -> None:
    """Bring the schema up to date.

    Raises `RefusalError` when Vault or MySQL stay away for `PATIENCE` seconds or refuse.
    """
    logs.configure(settings.log_level, "migrate")
    forget_environment()
    vault = None if settings.fixed else Watcher(settings.consul, "vault").start()
    mysql = Watcher(settings.consul, "mysql").start()
    for watcher in filter(None, (vault, mysql)):
        if not watcher.wait(PATIENCE):
            raise RefusalError(
                f"The migration found no passing instance of {watcher.service} in Consul within "
                f"{PATIENCE:g} seconds; is it up, and unsealed?"
            )
    login = source(settings, vault)
    begin = time.monotonic()
    try:
        for attempt in tenacity.Retrying(
            stop=tenacity.stop_after_delay(PATIENCE),
            wait=tenacity.wait_random_exponential(0.2, 2.0),
            retry=tenacity.retry_if_exception_type((*AWAY, pymysql.Error)),
            reraise=True,
        ):
            with attempt:
                login.keep(0)
                credential = login.credential()
                dialer = Dialer(mysql.all, None)
                with dialer.connect(credential) as connection:
                    created = create(connection, settings.database_name)
    except pymysql.Error as error:
        raise RefusalError(f"The migration failed: {reason(error)}.") from error
    except AWAY as error:
        raise RefusalError(f"The migration failed: Vault said {str(error)[:200]!r}.") from error
    finally:
        _end(login)
    log.info(
        "migrated",
        did="created the table todos" if created else "nothing: the table todos is there",
        database=settings.database_name,
        seconds=round(time.monotonic() - begin, 2),
    )


def create(connection: pymysql.Connection, database: str) -> bool:
    """Create the database and the table where they are missing; True if the table was.

    Raises `pymysql.Error`.
    """
    with closing(connection.cursor()) as cursor:
        cursor.execute(EXISTS, (database,))
        found = cursor.fetchone()
        if found and found[0]:
            return False
        # A name cannot be bound as a value; the settings let letters, digits and _ through only.
        cursor.execute(f"CREATE DATABASE IF NOT EXISTS `{database}`")
        connection.select_db(database)
        cursor.execute(TABLE)
    return True


def _end(login: Source) -> None:
    try:
        login.close(2.0)
    except AWAY as error:
        log.warning("login_not_ended", error=type(error).__name__, remedy="it ends by itself")
