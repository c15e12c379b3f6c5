"""Configuration files from the templates under `lab/`, the same for every driver."""

from __future__ import annotations

import shlex
from typing import Any

import jinja2

from helpers.topology import LAB_DATA, Node, Topology

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(LAB_DATA),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # configuration files, not HTML
)
# A value in a file that a shell reads (systemd takes the same quotes): a path may have a space in it.
_TEMPLATES.filters["quoted"] = lambda value: shlex.quote(str(value))


def render(template: str, topology: Topology, node: Node | None = None, **values: Any) -> str:
    """Fill a template of `lab/` with the topology and what only the caller knows.

    `template` is a path below `lab/`. Raises `jinja2.UndefinedError` when a value is missing:
    a template and its caller that disagree are a defect, not a choice.
    """
    return _TEMPLATES.get_template(template).render(
        {**topology.raw, "node": node, "server": topology.server, **values}
    )
