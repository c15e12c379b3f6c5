"""An experiment: predict, record, inject, observe, heal, judge.

The recording is a process of its own under the lab's supervisor, so that a cell that is interrupted or a
kernel that dies disturbs neither it nor the lab; whatever happens inside the `with`, it ends healed.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from helpers import bounds, faults, recording, rows, standby
from helpers.deploy import passing_instances
from helpers.errors import LabError
from helpers.faults import FAULTS, Plan
from helpers.programs import find
from helpers.showing import Showing

if TYPE_CHECKING:
    from helpers.lab import Lab

CONDITIONS = ("vault.leader", "todo.any", "detected")  # what `observe` can wait for by name
SETTLE = 3.0  # seconds of health recorded at the end: longer than an unchanged catalog is silent


class Run(Showing):
    """One recorded experiment; made by `Lab.record` and used as a context manager.

    After the `with` its `records` are complete, and `figure`, `table`, `verdict` and `compare` speak of them.
    """

    def __init__(self, lab: Lab, title: str, prediction: dict[str, float], **options: Any) -> None:
        self.lab = lab
        self.title = title
        self.prediction = prediction
        self.options = options
        self.folder = Path()
        super().__init__()
        self._info: dict[str, Any] = {}
        self._config = bounds.Config.from_topology(lab.topology.raw)
        self._injected: list[tuple[Plan, str, float]] = []
        self._shook = False  # whether a node's health was hit, and with it the sessions that hang on it

    # ---- the frame ----------------------------------------------------------------------

    def __enter__(self) -> Run:
        """Heal first, then start the recorder; the run's time starts here.

        Raises `LabError` while another notebook records.
        """
        recording.refuse_another(self.lab)
        # anew: `lab.changed` may have come in between
        self._config = bounds.Config.from_topology(self.lab.topology.raw)
        self.lab.reach("deployed", quiet=True)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        slug = re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")[:40]
        self.folder = self.lab.home.folder("runs", f"{stamp}-{slug}")
        self._info = rows.start(self.folder, **self._describe())
        try:
            recording.start(self.lab, self.folder, **self.options)
        except BaseException:  # a Ctrl-C too: `__exit__` is not called for a `with` that did not begin
            recording.end(self.lab)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Heal whatever is still broken, end the recording, read it back."""
        try:
            self.heal()
        finally:
            recording.end(self.lab)
            from helpers import records  # pandas, which a command does without

            self.records = records.finish(self.folder)
            if early := recording.ended_early(self.lab, self.folder):
                self.lab.say(early)
        if self._shook and kind is None:
            standby.make_ready(self.lab)  # the next experiment's failover counts on it

    def _describe(self) -> dict[str, Any]:
        topology = self.lab.topology
        return {
            "title": self.title,
            "prediction": self.prediction,
            "driver": self.lab.driver.name,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "config": asdict(self._config),
            "nodes": [node.name for node in topology.regular()],
            "versions": {
                **{name: find(name).version for name in ("consul", "vault", "mariadb")},
                "python": platform.python_version(),
                "kernel": platform.release(),
            },
            "host": {"processors": os.cpu_count(), "system": platform.system()},
        }

    # ---- what one does in it ------------------------------------------------------------

    @property
    def now(self) -> float:
        """Seconds since the run's start."""
        return rows.now(self._info)

    def steady(self, seconds: float = 5.0) -> None:
        """Record the healthy lab for some seconds: what a fault is measured against."""
        begun = self.now
        time.sleep(seconds)
        rows.append_event(self.folder, phase="steady", t_begin=begun, t_end=self.now)

    def inject(self, fault: str, target: str) -> None:
        """Do a fault to a target as it is now; both edges of the call are kept.

        Raises `LabError` when there is no such fault or target, or the driver cannot do it.
        """
        plan = faults.plan(self.lab, fault, target)
        # Gossip goes round a cut between some: nothing is promised then, as when everything is hit.
        hit = "all" if plan.peers else bounds.subject([str(one) for one in plan.targets], self._leader())
        allowed = bounds.for_fault(self._config, fault, hit)
        self._shook |= FAULTS[fault].needs is not None or any(one.program == "agent" for one in plan.targets)
        # Kept before the effect: whatever happens in it, the heal knows what to undo.
        begun = self.now
        self._injected.append((plan, hit, begun))
        failed = "interrupted"
        try:
            FAULTS[fault].inject(self.lab, plan)
            failed = ""
        except Exception as error:
            failed = f"{type(error).__name__}: {error}"
            raise
        finally:  # half of it may have happened, after a Ctrl-C too, so the record says that there was one
            rows.append_event(
                self.folder,
                phase="inject",
                fault=fault,
                target=target,
                t_begin=begun,
                t_end=self.now,
                params={
                    "label": plan.label,
                    "hit": hit,
                    "targets": [str(one) for one in plan.targets],
                    "drawing": plan.drawing,
                },
                ok=not failed,
                message=failed,
                bounds=_intervals(allowed),
            )

    def _leader(self) -> str | None:
        """The node whose Vault leads at the moment, if one does."""
        with contextlib.suppress(LabError):
            return self.lab.resolve("vault.leader")[0].node
        return None

    def observe(
        self,
        seconds: float | None = None,
        until: str | Callable[[], bool] | None = None,
        at_most: float = 90.0,
    ) -> None:
        """Go on recording: for some seconds, or until something is so.

        `until` is `vault.leader`, `todo.any`, `detected`, or a function.

        With `until` it records a little longer than the moment itself, and at most `at_most` seconds: a
        condition that stays out is no error, the verdict will say so. Raises `LabError` for a name that is
        no condition. A function that raises is asked again: an answer that fails is one that is not yes yet.
        If it raises to the end, that is said.
        """
        if isinstance(until, str) and until not in CONDITIONS:
            raise LabError(f"There is no condition {until!r}; use {', '.join(CONDITIONS)} or a function.")
        if until == "detected" and not self._services_hit():
            raise LabError("Nothing is broken yet that has a check in Consul; call `inject` first.")
        if until is None:
            time.sleep(seconds if seconds is not None else 10.0)
            return
        deadline, failed = time.monotonic() + at_most, ""
        while time.monotonic() < deadline:
            try:
                if until() if callable(until) else self._holds(until):
                    time.sleep(SETTLE)
                    return
                failed = ""
            except Exception as error:
                failed = f"{type(error).__name__}: {error}"
            time.sleep(0.1)
        if failed:
            self.lab.say(f"`until` never had an answer in {at_most:g} s; at last {failed}")

    def _holds(self, condition: str) -> bool:
        match condition:
            case "vault.leader":
                with contextlib.suppress(LabError):
                    return bool(self.lab.resolve("vault.leader"))  # it forgives the Vault that is gone
                return False
            case "todo.any":
                return bool(passing_instances(self.lab))
        return not any(
            hit & passing_instances(self.lab, service=service)
            for service, hit in self._services_hit().items()
        )

    def _services_hit(self) -> dict[str, set[str]]:
        """The nodes that are hit, by the service they offer."""
        found: dict[str, set[str]] = {}
        for name in (node for plan, _, _ in self._injected for node in plan.nodes):
            if service := self.lab.topology[name].service:
                found.setdefault(service, set()).add(name)
        return found

    def note(self, message: str, **figures: Any) -> None:
        """Write a remark on the time line, with `figures` (what JSON can hold) kept beside it as `params`."""
        now = self.now
        rows.append_event(self.folder, phase="note", t_begin=now, t_end=now, message=message, params=figures)

    def heal(self) -> None:
        """Undo every fault of this run, then wait for the healthy lab and record it. May be called twice.

        A fault that cannot be undone by itself stops neither the others nor the repair of everything.
        """
        for plan, hit, injected in reversed(self._injected):
            begun, failed = self.now, ""
            try:
                FAULTS[plan.fault].heal(self.lab, plan)
            except Exception as error:
                failed = f"{type(error).__name__}: {error}"
            allowed = bounds.after_heal(self._config, plan.fault, hit, begun - injected)
            rows.append_event(
                self.folder,
                phase="heal",
                fault=plan.fault,
                target=plan.role,
                t_begin=begun,
                t_end=self.now,
                params={"label": plan.label, "hit": hit},
                ok=not failed,
                message=failed,
                bounds=_intervals(allowed),
            )
        if not self._injected:
            return
        self._injected.clear()
        begun = self.now
        self.lab.reach("deployed", quiet=True)
        time.sleep(SETTLE)
        if self.lab.state != "deployed":
            # A Consul server that is back may cost Vault's leader its lock a few seconds later.
            self.lab.reach("deployed", quiet=True)
            time.sleep(SETTLE)
        rows.append_event(self.folder, phase="steady", t_begin=begun, t_end=self.now, message="healthy again")


def _intervals(allowed: dict[str, bounds.Bound]) -> dict[str, list[float]]:
    return {name: [bound.lo, bound.hi] for name, bound in allowed.items()}
