"""The library behind the notebooks and the `lab` command."""

from helpers.errors import LabError
from helpers.exercises import check, hint
from helpers.lab import Lab

__all__ = ["Lab", "LabError", "check", "hint"]
