"""Faults of whole nodes: without power, frozen, gone from the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import requests

from helpers.errors import LabError
from helpers.faults.planning import Plan, describe, register
from helpers.faults.programs import OnPrograms
from helpers.topology import Target, Topology

if TYPE_CHECKING:
    from helpers.lab import Lab


class _OnNodes(OnPrograms):
    """A fault of whole nodes: every program on them at once, the agent too."""

    def plan(self, topology: Topology, role: str, targets: list[Target]) -> Plan:
        """Widen the target to all programs of its node."""
        nodes = list(dict.fromkeys(target.node for target in targets))
        everything = [Target(node, program) for node in nodes for program in topology[node].programs]
        label = describe(role, [Target(node, topology[node].programs[-1]) for node in nodes])
        return Plan(self.name, role, tuple(everything), f"{label}: {self.words}", self.drawing)


@register
class PowerOff(_OnNodes):
    """A node without power.

    On one machine the kernel still closes the connections, so peers see a refusal and not the silence
    of a real power cut; the `vagrant` driver, whose machines have a power of their own, shows that.
    """

    name = "power_off"
    words = "node off"

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Cut the machine's power, or kill everything on the node, the service first."""
        if "power" in lab.driver.capabilities:
            for node in plan.nodes:
                lab.driver.power_off(node)
            return
        for target in reversed(plan.targets):
            lab.driver.signal(target, "KILL")


@register
class Suspend(_OnNodes):
    """A frozen node, as when its host moves it or takes a snapshot: connections stay open, nobody answers."""

    name = "suspend"
    words = "node frozen"
    drawing: ClassVar[dict[str, str]] = {"hatch": "||"}

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Suspend the machine, or send STOP to everything on the node."""
        if "power" in lab.driver.capabilities:
            for node in plan.nodes:
                lab.driver.suspend(node)
            return
        for target in plan.targets:
            lab.driver.signal(target, "STOP")

    def heal(self, lab: Lab, plan: Plan) -> None:
        """Wake the machine, then whatever does not run on it."""
        for node in plan.nodes:
            lab.driver.mend(node)
        super().heal(lab, plan)


@register
class Leave(OnPrograms):
    """A node's agent leaves the cluster in order: the node disappears from the catalog."""

    name = "leave"
    words = "leaves"

    def plan(self, topology: Topology, role: str, targets: list[Target]) -> Plan:
        """Aim at the agents of the targets' nodes."""
        agents = [Target(node, "agent") for node in dict.fromkeys(target.node for target in targets)]
        return Plan(self.name, role, tuple(agents), f"{describe(role, agents)}: {self.words}", self.drawing)

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Tell each agent to leave (`agent/leave`); its process ends by itself."""
        for target in plan.targets:
            address = lab.topology[target.node].address
            port = lab.topology.ports["consul_http"]
            url = f"http://{address}:{port}/v1/agent/leave"
            try:
                requests.put(url, timeout=20).raise_for_status()
            except requests.Timeout:
                raise LabError(
                    f"{target} does not answer, so it cannot leave; `lab heal` repairs it."
                ) from None
            except requests.ConnectionError:
                continue  # it ended before it answered
            except requests.HTTPError as error:
                raise LabError(f"{target} refused to leave: {error.response.text.strip()}.") from None
