"""lab/topology.yaml as Python reads it: nodes, addresses, targets."""

from __future__ import annotations

import ast
import ipaddress
import re
from collections.abc import Iterator

import pytest

from helpers.errors import LabError
from helpers.topology import LAB_DATA, REPOSITORY, Target, description, load

TOPOLOGY = load("local")


def test_the_six_nodes_and_the_spare() -> None:
    assert [node.name for node in TOPOLOGY.regular()] == [
        "consul",
        "vault0",
        "vault1",
        "mysql",
        "todo0",
        "todo1",
    ]
    assert [node.name for node in TOPOLOGY.nodes.values() if node.spare] == ["todo2"]
    assert [node.address.rpartition(".")[2] for node in TOPOLOGY.regular()] == [str(n) for n in range(10, 16)]


def test_every_driver_has_a_network_of_private_addresses() -> None:
    for driver in description()["networks"]:
        for node in load(driver).nodes.values():
            address = ipaddress.ip_address(node.address)
            assert address.is_private, (driver, node)
            assert address.is_loopback == (driver == "local"), (driver, node)


def test_the_local_network_can_be_moved() -> None:
    assert load("local", "127.20.77")["vault1"].address == "127.20.77.12"


def test_services() -> None:
    assert [node.name for node in TOPOLOGY.of("vault")] == ["vault0", "vault1"]
    assert [node.name for node in TOPOLOGY.of("todo")] == ["todo0", "todo1"]
    assert [node.name for node in TOPOLOGY.of("todo", spares=True)] == ["todo0", "todo1", "todo2"]
    assert TOPOLOGY["consul"].service is None, "consul is the cluster itself, not a service of ours"
    assert TOPOLOGY.server.name == "consul"
    assert [node.name for node in TOPOLOGY.nodes.values() if node.server] == ["consul"]


def test_every_node_runs_its_own_agent_first() -> None:
    assert all(node.programs[0] == "agent" for node in TOPOLOGY.nodes.values())


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("todo0", Target("todo0", "todo")),
        ("todo0:agent", Target("todo0", "agent")),
        ("consul", Target("consul", "agent")),
        ("mysql", Target("mysql", "mariadb")),
        ("vault1:vault", Target("vault1", "vault")),
    ],
)
def test_targets(text: str, target: Target) -> None:
    assert TOPOLOGY.target(text) == target
    assert TOPOLOGY.target(str(target)) == target


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "todo9",
            "There is no node 'todo9'; the nodes are consul, vault0, vault1, mysql, todo0, todo1, todo2.",
        ),
        ("", "There is no node ''; the nodes are"),
        ("TODO0", "There is no node 'TODO0'"),
        ("todo0:vault", "todo0 does not run 'vault'; it runs agent and todo."),
        ("todo0:", "todo0 does not run ''"),
        ("consul:consul", "consul does not run 'consul'; it runs agent."),
        (":agent", "There is no node ''"),
    ],
)
def test_targets_that_are_none(text: str, said: str) -> None:
    with pytest.raises(LabError, match=f"^{re.escape(said)}"):
        TOPOLOGY.target(text)


def test_nobody_listens_where_another_does() -> None:
    everywhere = [place for target in TOPOLOGY.programs() for place in TOPOLOGY.listening(target)]
    assert len(everywhere) == len(set(everywhere))
    assert (TOPOLOGY["vault0"].address, 8201) in everywhere, "Vault's second port must be free too"
    assert (TOPOLOGY["consul"].address, 8300) in everywhere
    assert (TOPOLOGY["todo0"].address, 8300) not in everywhere, "only the server takes RPC"


def test_a_checks_timeout_is_below_its_interval() -> None:
    check = description()["check"]
    assert 0 < check["timeout"] < check["interval"]


def texts(source: str) -> Iterator[str]:
    """Yield the strings of a Python file that are no docstrings."""
    tree = ast.parse(source)
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


def test_no_address_stands_anywhere_else() -> None:
    """In code, templates and configuration: prose may name the networks, code may not."""
    pattern = re.compile("|".join(re.escape(f"{network}.") for network in description()["networks"].values()))
    code = [*(REPOSITORY / "helpers").rglob("*.py"), *(REPOSITORY / "todo").rglob("*.py")]
    assert len(code) > 20
    for file in code:
        assert not [text for text in texts(file.read_text()) if pattern.search(text)], file
    templates = [*LAB_DATA.rglob("*.j2"), *LAB_DATA.rglob("*.hcl")]
    assert len(templates) > 5
    for file in templates:
        assert not pattern.search(file.read_text()), file
