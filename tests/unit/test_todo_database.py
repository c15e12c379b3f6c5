"""Which failed statement gets a second chance, and that it never gets a third."""

import socket
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pymysql
import pytest

from todo.database import Database
from todo.discovery import Instance
from todo.errors import NoInstanceError, UnavailableError
from todo.mysql import Dialer, Verdict, closed_by_server, reason, verdict
from todo.vault import Credential

DENIED = [1044, 1045, 1142, 1143]


def error(number: int) -> pymysql.err.OperationalError:
    return pymysql.err.OperationalError(number, "made up, for 'v-user'@'127.20.20.14'")


def timed_out(number: int) -> pymysql.err.OperationalError:
    made_up = error(number)
    made_up.__context__ = TimeoutError()
    return made_up


@pytest.mark.parametrize("number", DENIED)
@pytest.mark.parametrize("repeatable", [True, False])
def test_a_refused_statement_did_nothing_and_may_always_run_again(number: int, repeatable: bool) -> None:
    assert verdict(error(number), repeatable) is Verdict.FRESH


@pytest.mark.parametrize("number", [2013, 2055])
def test_a_statement_that_may_have_run_is_repeated_only_if_that_is_harmless(number: int) -> None:
    assert verdict(error(number), repeatable=True) is Verdict.RECONNECT
    assert verdict(error(number), repeatable=False) is Verdict.GIVE_UP


def test_a_statement_that_was_never_sent_may_run_again() -> None:
    assert verdict(error(2006), repeatable=False) is Verdict.RECONNECT


@pytest.mark.parametrize("number", [2003, 2006, 2013])
def test_a_time_out_is_not_tried_again(number: int) -> None:
    assert verdict(timed_out(number), repeatable=True) is Verdict.GIVE_UP


@pytest.mark.parametrize("made_up", [error(1064), error(2003), NoInstanceError("mysql")])
def test_other_failures_are_final(made_up: Exception) -> None:
    assert verdict(made_up, repeatable=True) is Verdict.GIVE_UP


@pytest.mark.parametrize("made_up", [*map(error, [*DENIED, 2006, 2013, 2003, 1146, 1049, 1205])])
def test_reasons_name_no_user_and_no_address(made_up: Exception) -> None:
    assert "v-user" not in reason(made_up)
    assert "127." not in reason(made_up)


class Cursor:
    def __init__(self, fail: Exception | None) -> None:
        self.fail = fail
        self.lastrowid = 7
        self.rowcount = 1

    def execute(self, sql: str, values: tuple[object, ...]) -> None:
        if self.fail:
            raise self.fail

    def close(self) -> None:
        pass


class FakePool:
    """Fails with the given errors, one per statement, then serves."""

    def __init__(self, *errors: Exception) -> None:
        self.credential = Credential("user", "password", issued=time.monotonic())
        self.errors = list(errors)
        self.statements = 0

    def connection(self) -> Any:
        self.statements += 1
        fail = self.errors.pop(0) if self.errors else None
        pool = SimpleNamespace(cursor=lambda: Cursor(fail))

        class Lent:
            def __enter__(self) -> Any:
                return pool

            def __exit__(self, *_: object) -> None:
                pass

        return Lent()


def database(pool: FakePool, fresh: Callable[[Credential, float], bool]) -> Database:
    made = Database(None, fresh)  # type: ignore[arg-type]
    made._pool = pool  # type: ignore[assignment]
    return made


def test_a_dead_credential_is_replaced_and_the_statement_runs_again() -> None:
    old, new = FakePool(error(1142)), FakePool()

    def fresh(dead: Credential, timeout: float) -> bool:
        assert dead is old.credential
        todos._pool = new  # type: ignore[assignment]
        return True

    todos = database(old, fresh)
    assert todos.insert("new", "x") == 7
    assert (old.statements, new.statements) == (1, 1)


def test_a_statement_is_tried_twice_and_never_three_times() -> None:
    pool = FakePool(error(1142), error(1142), error(1142))
    with pytest.raises(UnavailableError, match="refuses the credential"):
        database(pool, lambda *_: False).all()
    assert pool.statements == 2


def test_an_insert_that_may_have_run_is_not_repeated() -> None:
    pool = FakePool(error(2013))
    with pytest.raises(UnavailableError, match="not known"):
        database(pool, lambda *_: True).insert("new", "x")
    assert pool.statements == 1


def test_a_delete_that_may_have_run_is_not_repeated() -> None:
    pool = FakePool(error(2013))
    with pytest.raises(UnavailableError):
        database(pool, lambda *_: True).delete(1)
    assert pool.statements == 1


def test_an_update_is_repeated_on_a_new_connection_without_a_fresh_credential() -> None:
    pool = FakePool(error(2013))

    def never(*_: object) -> bool:
        raise AssertionError("the credential is not at fault")

    assert database(pool, never).update(1, "done", "x")
    assert pool.statements == 2


def test_a_fault_of_the_program_is_not_called_a_fault_of_the_database() -> None:
    with pytest.raises(ZeroDivisionError):
        database(FakePool(ZeroDivisionError()), lambda *_: True).all()


def test_before_the_first_credential_nothing_is_served() -> None:
    with pytest.raises(UnavailableError, match="starting"):
        Database(None, lambda *_: True).all()  # type: ignore[arg-type]


def test_tls_comes_in_when_the_server_takes_a_password_over_tls_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MySQL 8 and 9 with a new user; one context for the whole process, as building it is slow."""
    dialled: list[dict[str, Any]] = []

    def connect(**arguments: Any) -> str:
        dialled.append(arguments)
        if "ssl_disabled" in arguments:
            raise RuntimeError("'cryptography' package is required for sha256_password")
        return "a connection"

    monkeypatch.setattr(pymysql, "connect", connect)
    dialer = Dialer(lambda: [Instance("10.0.0.1", 3306)], "Todo")
    one = Credential("user", "password", issued=0.0)
    assert dialer.connect(one) == dialer.connect(one) == "a connection"
    assert ["ssl" in arguments for arguments in dialled] == [False, True, True]
    assert dialled[1]["ssl"] is dialled[2]["ssl"]


def test_a_connection_that_the_server_closed_is_noticed() -> None:
    ours, theirs = socket.socketpair()
    connection = SimpleNamespace(_sock=ours)
    assert not closed_by_server(connection)
    theirs.close()
    assert closed_by_server(connection)
    assert closed_by_server(SimpleNamespace(_sock=None))
    ours.close()
