"""How many connections of a pool are lent: the rotation gives a lease back when it is none."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from todo import database
from todo.database import Pool


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Pool:
    """A pool whose connections are stand-ins that answer everything."""
    cursor = SimpleNamespace(execute=lambda *_: None, close=lambda: None)

    def connect(*_: Any) -> Any:
        return SimpleNamespace(cursor=lambda: cursor, close=lambda: None, rollback=lambda: None)

    monkeypatch.setattr(database, "closed_by_server", lambda _: False)
    dialer: Any = SimpleNamespace(connect=connect)
    credential: Any = SimpleNamespace(user="v-one")
    return Pool(dialer, credential)


def test_lent_connections_are_counted(pool: Pool) -> None:
    assert pool.busy == 0
    with pool.connection(), pool.connection():
        assert pool.busy == 2
    assert pool.busy == 0


def test_a_retired_pool_counts_those_still_lent(pool: Pool) -> None:
    """Retired in the middle of two requests: two, one, none. Not none at once, and never below."""
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(pool.connection())
        second.enter_context(pool.connection())
        pool.retire()
        assert pool.busy == 2
        first.close()
        assert pool.busy == 1
        second.close()
        assert pool.busy == 0


def test_a_failing_statement_is_no_longer_lent(pool: Pool) -> None:
    @contextmanager
    def failing() -> Any:
        with pool.connection():
            yield
            raise ValueError("the statement failed")

    with pytest.raises(ValueError, match="failed"), failing():
        assert pool.busy == 1
    assert pool.busy == 0
