"""Faults of a node's network; they need a driver whose nodes have one each."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from helpers.faults.planning import Plan, register
from helpers.faults.programs import OnPrograms

if TYPE_CHECKING:
    from helpers.lab import Lab


def _peers(lab: Lab, plan: Plan, node: str) -> list[str]:
    """Return from whom a node is cut: those named, or everybody outside; of everything, everybody else."""
    if plan.peers:
        return list(plan.peers)
    inside = {node} if plan.role == "all" else set(plan.nodes)
    return [other for other in lab.topology.nodes if other not in inside]


class _OnNetwork(OnPrograms):
    """A fault of a node's network; needs a driver whose nodes have one each."""

    needs: ClassVar[str | None] = "network"
    drawing: ClassVar[dict[str, str]] = {"hatch": "xx"}

    def heal(self, lab: Lab, plan: Plan) -> None:
        """Mend the nodes' networks."""
        for node in plan.nodes:
            lab.driver.mend(node)


@register
class Partition(_OnNetwork):
    """A node cut off from every other node, both ways, by dropping what passes; the host still reaches it."""

    name = "partition"
    words = "cut off"
    between = True

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Drop everything between each node and its peers."""
        for node in plan.nodes:
            lab.driver.cut(node, _peers(lab, plan, node))


@register
class Deaf(_OnNetwork):
    """A partition in one direction: nothing that its peers send reaches the node, what it sends arrives.

    Questions arrive and are answered, and answers to its own questions are lost: a new TCP connection
    begins neither way, because the handshake needs both.
    """

    name = "deaf"
    words = "hears nothing"
    between = True

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Drop what each node is sent by its peers."""
        for node in plan.nodes:
            lab.driver.cut(node, _peers(lab, plan, node), deaf=True)


@register
class Unplug(_OnNetwork):
    """A cable pulled: silence instead of refusals, for everybody."""

    name = "unplug"
    words = "unplugged"

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Take each node's link down."""
        for node in plan.nodes:
            lab.driver.unplug(node)


@register
class Lossy(_OnNetwork):
    """A bad cable: of what passes between a node and its peers some is lost, packet by packet.

    TCP sends it again, after 0.2 s and longer each time, so that users see a slow service and few failures.
    """

    name = "lossy"
    words = "30 % of packets lost"
    between = True

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Drop 30 of 100 packets each way: half of all questions and answers need a second try."""
        for node in plan.nodes:
            lab.driver.cut(node, _peers(lab, plan, node), percent=30)


@register
class Slow(_OnNetwork):
    """A long way: each packet that the node sends is 100 ms late, as to another continent.

    A new connection costs that once more than a kept one: its first question waits for a handshake.
    """

    name = "slow"
    words = "100 ms late"
    needs: ClassVar[str | None] = "delay"

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Delay what each node sends."""
        for node in plan.nodes:
            lab.driver.delay(node, 100)
