"""Maintenance: a service taken out on purpose."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import consul
import requests

from helpers.faults.planning import Plan, register
from helpers.faults.programs import OnPrograms

if TYPE_CHECKING:
    from helpers.lab import Lab


@register
class Maintenance(OnPrograms):
    """A service taken out on purpose: critical in Consul, and running."""

    name = "maintenance"
    words = "in maintenance"
    programs = ("todo", "mariadb", "vault")

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Put the node's services into maintenance."""
        self._set(lab, plan, enable=True)

    def heal(self, lab: Lab, plan: Plan) -> None:
        """Take them out of maintenance."""
        self._set(lab, plan, enable=False)

    @staticmethod
    def _set(lab: Lab, plan: Plan, *, enable: bool) -> None:
        for target in plan.targets:
            agent = lab.consul(target.node).agent
            for service in agent.services():
                agent.service.maintenance(service, "true" if enable else "false", reason="experiment")


def in_maintenance(lab: Lab) -> list[tuple[str, str]]:
    """Return what is in maintenance, whoever put it there: (node, service id), "" for the whole node.

    An agent that does not answer has nothing to tell.
    """
    found = []
    for node in lab.topology.regular():
        with contextlib.suppress(consul.ConsulException, requests.RequestException):
            for check in lab.consul(node.name).agent.checks():
                if check == "_node_maintenance" or check.startswith("_service_maintenance:"):
                    found.append((node.name, check.partition(":")[2]))
    return found


def clear_maintenance(lab: Lab) -> None:
    """Take every node and service out of maintenance."""
    for node, service in in_maintenance(lab):
        agent = lab.consul(node).agent
        with contextlib.suppress(consul.ConsulException, requests.RequestException):
            if service:
                agent.service.maintenance(service, "false")
            else:
                agent.maintenance("false")
