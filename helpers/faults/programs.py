"""Faults of programs: what runs is ended, frozen, restarted; a Vault loses its leadership or its key."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from helpers import vault_steps
from helpers.errors import LabError
from helpers.faults.planning import Plan, describe, register
from helpers.topology import Target, Topology

if TYPE_CHECKING:
    from helpers.lab import Lab


class OnPrograms:
    """A fault that hits programs one by one; the common way of planning."""

    name: ClassVar[str]
    words: ClassVar[str]
    needs: ClassVar[str | None] = None
    between: ClassVar[bool] = False  # whether it lies between a node and others, all or some of them
    drawing: ClassVar[dict[str, str]] = {}  # of its bar in a figure, if not plain grey: `style.Drawing`
    programs: ClassVar[tuple[str, ...]] = ()  # which programs can suffer it; empty: any

    def plan(self, topology: Topology, role: str, targets: list[Target]) -> Plan:
        """Plan for the resolved programs, refusing those that cannot suffer it."""
        for target in targets:
            if self.programs and target.program not in self.programs:
                able = " or ".join(self.programs)
                raise LabError(f"{self.name} needs {able}, and {target} is not one.")
        return Plan(self.name, role, tuple(targets), f"{describe(role, targets)}: {self.words}", self.drawing)

    def heal(self, lab: Lab, plan: Plan) -> None:
        """Wake what is frozen and start what does not run: a Vault with its key, todos side by side."""
        todos = []
        for target in plan.targets:
            state = lab.driver.state(target)
            if state == "paused":
                lab.driver.signal(target, "CONT")
            elif state == "stopped" and target.program == "todo":
                todos.append(target.node)
            elif state == "stopped":
                lab.driver.start([target])
            if target.program == "vault":
                vault_steps.unseal(lab, target.node, wait=False)
        if todos:
            from helpers.deploy import deliver

            deliver(lab, todos)


@register
class Stop(OnPrograms):
    """An orderly end: TERM, so that a service can say goodbye."""

    name = "stop"
    words = "TERM"

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Send TERM and wait for the end."""
        lab.driver.stop(plan.targets)


@register
class Kill(OnPrograms):
    """A crash: KILL; no goodbye, and the kernel closes its connections at once."""

    name = "kill"
    words = "kill -9"

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Send KILL to each."""
        for target in plan.targets:
            lab.driver.signal(target, "KILL")


@register
class Pause(OnPrograms):
    """A freeze: STOP; connections stay open and nobody answers."""

    name = "pause"
    words = "paused"
    drawing: ClassVar[dict[str, str]] = {"hatch": "||"}

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Send STOP to each."""
        for target in plan.targets:
            lab.driver.signal(target, "STOP")


@register
class Restart(OnPrograms):
    """Stop and start again, and nothing else: a Vault comes back sealed."""

    name = "restart"
    words = "restarted"

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Stop all, then start all; a todo gets its new secret id, a Vault no key."""
        lab.driver.stop(plan.targets)
        for target in plan.targets:
            lab.start(str(target))


def _refuse_followers(lab: Lab, plan: Plan) -> None:
    """Raise `LabError` when a victim does not lead: only a leader steps down, or is sealed by the API."""
    for target in plan.targets:
        client = lab.vault(target.node, "")
        if vault_steps.role(client) != "active":
            raise LabError(
                f"{target.node} does not lead, and {plan.fault} is for the leader: inject it into "
                "vault.leader; `restart` leaves a standby sealed."
            )


@register
class StepDown(OnPrograms):
    """The leader gives up its leadership and stays unsealed (`sys/step-down`)."""

    name = "step_down"
    words = "steps down"
    programs = ("vault",)

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Ask each to step down. Raises `LabError` for one that does not lead: it would only nod."""
        _refuse_followers(lab, plan)
        for target in plan.targets:
            lab.vault(target.node).sys.step_down()


@register
class Seal(OnPrograms):
    """The leader throws its key away (`sys/seal`) until somebody unseals it."""

    name = "seal"
    words = "sealed"
    programs = ("vault",)

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Seal each. Raises `LabError` for one that does not lead: Vault refuses that, too."""
        _refuse_followers(lab, plan)
        for target in plan.targets:
            lab.vault(target.node).sys.seal()
