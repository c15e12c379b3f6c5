"""What a finished run shows: its timeline, its table, its verdict, and another run beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.errors import LabError

if TYPE_CHECKING:
    import pandas

    from helpers.records import Records
    from helpers.verdict import Verdict


class Showing:
    """A run that can be looked at, made here and now (`Run`) or recorded before (`Recorded`)."""

    def __init__(self, records: Records | None = None) -> None:
        """Start with `records`, or with none while the run goes on."""
        self.records = records

    def _complete(self) -> Records:
        if self.records is None:
            raise LabError("The run is not over: leave the `with` first, then look at it.")
        return self.records

    def figure(self) -> None:
        """Show the timeline, with alternative text."""
        from helpers import figures

        found = self._complete()
        figures.show(figures.figure(found), figures.alt_text(found))

    def table(self) -> pandas.DataFrame:
        """Return what was allowed, measured and predicted, with a verdict per quantity."""
        from helpers import verdict

        return verdict.table(self._complete())

    def verdict(self) -> Verdict:
        """Return held, broken or not enough data, over everything that was allowed something."""
        from helpers import verdict

        return verdict.verdict(self._complete())

    def summary(self) -> pandas.DataFrame:
        """Return the numbers that describe what users saw of the run's first fault, each with its resolution.

        Raises `LabError` for a run in which nothing was injected.
        """
        from helpers import cases, metrics

        found = cases.cases(self._complete())
        if not found:
            raise LabError("A run without a fault has nothing to sum up; inject one.")
        return metrics.summary(found[0]).set_index("metric").round(3)

    def compare(self, other: Showing) -> None:
        """Show this run below another one, on one axis of seconds since the injection."""
        from helpers import comparison, figures

        mine, theirs = self._complete(), other._complete()
        alt = f"{figures.alt_text(theirs)} {figures.alt_text(mine)}"
        figures.show(comparison.compare(theirs, mine), alt)
