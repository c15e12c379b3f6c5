"""The two writers: what counts as silence, what counts as lost, on a Vault that is made up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from helpers import clients
from helpers.writers import MOUNT, Writers


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch) -> Writers:
    """Two writers that have not begun, and a Vault that keeps two of three secrets."""
    removed: list[str] = []
    kept = {"data": {"keys": ["vault0-0", "vault1-0", "vault1-7"]}}
    store = SimpleNamespace(v1=SimpleNamespace(list_secrets=lambda *_, **__: kept))
    leader = SimpleNamespace(
        token="",
        secrets=SimpleNamespace(kv=store),
        sys=SimpleNamespace(disable_secrets_engine=removed.append),
    )
    lab: Any = SimpleNamespace(
        topology=SimpleNamespace(of=lambda _: [SimpleNamespace(name=f"vault{n}") for n in (0, 1)]),
        vault=lambda _: leader,
        active_vault=lambda: leader,
        address_of_vault=lambda _: "",
        removed=removed,
    )
    monkeypatch.setattr(clients, "vault", lambda *_, **__: None)
    return Writers(lab)


def test_what_was_acknowledged_and_is_not_there_is_lost(writers: Writers) -> None:
    writers.each[0].acknowledged = [("vault0-0", 10.0), ("vault0-1", 10.1), ("vault0-2", 31.0)]
    writers.each[1].acknowledged = [("vault1-0", 10.0)]
    writers.begun, writers.ended = 9.9, 33.0
    found = writers.demand(zero=10.0)
    assert [each["lost"] for each in found] == [2, 0], "what nobody acknowledged may be there all the same"
    assert [each["acknowledged"] for each in found] == [3, 1]
    assert (found[0]["silent from"], found[0]["silent until"]) == (0.1, 21.0)
    assert (found[1]["silent from"], found[1]["silent until"]) == (0.0, 23.0), "silent to the end"
    assert writers.lab.removed == [MOUNT]  # type: ignore[attr-defined]
