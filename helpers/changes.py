"""One thing changed: the lab with another setting for a while, and then as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from helpers import deploy, nodes, owners, vault_steps
from helpers.errors import LabError
from helpers.topology import Target, load

if TYPE_CHECKING:
    from helpers.lab import Lab

# Which services read a section of lab/topology.yaml, and so are started anew when it changes.
READERS = {
    "check": ("mysql", "todo"),
    "database": ("lease", "todo"),
    "todo": ("todo",),
    "vault": ("vault",),
}
KEY = "changed"  # in lab.json: what a kernel that died in the middle has left changed


@contextmanager
def changed(lab: Lab, section: str, **settings: Any) -> Iterator[None]:
    """Run the lab with other settings of one section of `lab/topology.yaml`, then put them back.

    Sections: `check`, `database` (its `lease`), `todo`, `vault`. Programs that read it are started anew, on
    the way in and out. Changes of different sections may be nested.
    Raises `LabError` for a section or a setting that does not exist.
    """
    known = lab.topology.raw.get(section)
    if section not in READERS or not isinstance(known, dict):
        raise LabError(f"There is no section {section!r} to change; there are {', '.join(READERS)}.")
    if unknown := [name for name in settings if name not in known]:
        raise LabError(f"{section} has no setting {unknown[0]!r}; it has {', '.join(known)}.")
    words = ", ".join(f"{section}.{name} = {value}" for name, value in settings.items())
    before, outer = lab.topology.raw, _sections(lab)
    _note(lab, [*outer, section], owners.this())
    try:
        with lab.step(words):
            _use(lab, {**before, section: {**known, **settings}})
            apply(lab, section)
        yield
    finally:
        # Nobody's until it is done: whatever interrupts this, the next `reach` puts back what is left.
        _note(lab, _sections(lab), None)
        with lab.step(f"{section} as before"):
            _use(lab, before)
            apply(lab, section)
        left = _sections(lab)
        if section in left:
            left.remove(section)
        _note(lab, left, owners.this() if left == outer else None)


def _sections(lab: Lab) -> list[str]:
    """The sections that are changed, as `lab.json` has them."""
    return list((lab.home.settings.get(KEY) or {"sections": []})["sections"])


def _note(lab: Lab, sections: list[str], owner: dict[str, Any] | None) -> None:
    lab.home.remember(**{KEY: {"sections": sections, "owner": owner} if sections else None})


def restore_orphaned(lab: Lab) -> None:
    """Put back what a process that died has left changed; a living one's change is left alone."""
    change = lab.home.settings.get(KEY)
    if change is not None and not owners.lives(change["owner"]):
        restore(lab)


def restore(lab: Lab) -> None:
    """Put back everything that `changed` changed."""
    _use(lab, load(lab.driver.name, lab.topology.network).raw)
    for section in lab.home.settings[KEY]["sections"]:
        with lab.step(f"{section} as lab/topology.yaml has it"):
            apply(lab, section)
    lab.home.remember(**{KEY: None})


def _use(lab: Lab, raw: dict[str, Any]) -> None:
    lab.topology = lab.driver.topology = replace(lab.topology, raw=raw)


def apply(lab: Lab, section: str) -> None:
    """Write the configuration anew and start again what reads a section."""
    nodes.write_configuration(lab)
    services = READERS[section]
    if "mysql" in services:
        for node in lab.topology.of("mysql"):
            lab.consul(node.name).agent.service.deregister("mysql")
            nodes.register_database(lab, node)
    if "lease" in services:
        database = lab.topology.raw["database"]
        role = f"{database['mount']}/roles/{database['role']}"
        lab.active_vault().write_data(role, data={"default_ttl": f"{database['lease']}s"})
    if "vault" in services:
        # The leader last: it goes only once, and everybody has the new setting.
        names = [node.name for node in lab.topology.of("vault")]
        leader = lab.resolve("vault.leader")[0].node
        for name in sorted(names, key=lambda name: name == leader):
            target = Target(name, "vault")
            if name == leader:
                lab.driver.stop([target])
            else:
                # A standby hears TERM only when its long poll for the lock returns, up to 15 s later
                # (Consul's LockWaitTime); it holds nothing that a KILL could lose.
                lab.driver.signal(target, "KILL")
            lab.driver.start([target])
            vault_steps.unseal(lab, name)
    if "todo" in services:
        deploy.deliver(lab, [node.name for node in lab.topology.of("todo")])
