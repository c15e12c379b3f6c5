"""Waiting for something real: asked often, bounded in time, with a sentence when it stays out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from helpers.errors import LabError, RoleVacantError

T = TypeVar("T")


def until(condition: Callable[[], T | None], what: str, at_most: float = 30.0, every: float = 0.05) -> T:
    """Ask `condition` until it returns something true, and return that.

    `what` completes the sentence "… did not happen within N s"; times are seconds.
    Exceptions of the network count as "not yet", and so does a role that nobody has. Raises `LabError`
    after `at_most`.
    """
    deadline = time.monotonic() + at_most
    last: Exception | None = None
    while True:
        try:
            if result := condition():
                return result
            last = None
        except Exception as error:
            if isinstance(error, LabError) and not isinstance(error, RoleVacantError):
                raise
            last = error
        if time.monotonic() > deadline:
            detail = f" ({type(last).__name__}: {last})" if last else ""
            raise LabError(f"{what} did not happen within {at_most:g} s{detail}.")
        time.sleep(every)
