"""Waiting: what counts as not yet, what ends it, and what it says when it was in vain."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests

from helpers.errors import LabError, RoleVacantError
from helpers.waiting import until


def then(*outcomes: object) -> Callable[[], object]:
    """Return a condition that gives or raises one outcome after the other."""
    left = iter(outcomes)

    def ask() -> object:
        outcome = next(left)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return ask


@pytest.mark.parametrize(
    "not_yet", [None, False, requests.ConnectionError("refused"), RoleVacantError("No Vault leads.")]
)
def test_not_yet(not_yet: object) -> None:
    assert until(then(not_yet, "yes"), "A yes", at_most=5, every=0.001) == "yes"


def test_what_the_reader_must_know_is_not_waited_for() -> None:
    with pytest.raises(LabError, match="no keys"):
        until(then(LabError("There are no keys."), "yes"), "A yes", at_most=5)


def test_in_vain() -> None:
    def leader() -> str:
        raise RoleVacantError("No Vault leads.")

    with pytest.raises(LabError, match=r"A leader did not happen within 0.01 s \(RoleVacantError: No Vault"):
        until(leader, "A leader", at_most=0.01, every=0.001)
