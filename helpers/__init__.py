"""The library behind the notebooks and the `lab` command.

Its names are imported when they are asked for: `helpers.entry` has to be there before the second that
pandas and the others take.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from helpers.errors import LabError
    from helpers.exercises import check, hint
    from helpers.lab import Lab

__all__ = ["Lab", "LabError", "check", "hint"]

_HOMES = {
    "Lab": "helpers.lab",
    "LabError": "helpers.errors",
    "check": "helpers.exercises",
    "hint": "helpers.exercises",
}


def __getattr__(name: str) -> Any:
    """Import one of the names of `__all__` (PEP 562); raises `AttributeError` for another."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Name what can be imported, for a notebook's completion."""
    return __all__
