"""The templates under lab/: each can be filled for each node, and says what it must."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import jinja2
import pytest

from helpers.render import render
from helpers.topology import LAB_DATA, load

TOPOLOGY = load("local", "127.20.77")
FOLDER = Path("/a lab/nodes/x")


@pytest.mark.parametrize("name", list(TOPOLOGY.nodes))
def test_agents(name: str) -> None:
    node = TOPOLOGY[name]
    text = render("consul/agent.hcl.j2", TOPOLOGY, node, folder=FOLDER)
    assert f'node_name  = "{name}"' in text
    assert f'bind_addr   = "{node.address}"' in text
    assert f'data_dir   = "{FOLDER}/data"' in text
    assert ("bootstrap_expect" in text) == node.server
    assert (f'retry_join     = ["{TOPOLOGY.server.address}"]' in text) == (not node.server)
    # Consul's default of 30 s would be the lab's start time; 5 is its default multiplier.
    assert ('retry_interval = "1s"' in text) == (not node.server)
    assert "raft_multiplier = 1" in text


def test_vault_keeps_its_data_in_consul_and_is_found_by_its_own_agent() -> None:
    text = render("vault/vault.hcl.j2", TOPOLOGY, TOPOLOGY["vault1"], folder=FOLDER)
    assert 'storage "consul"' in text
    assert 'address     = "127.20.77.12:8500"' in text
    assert 'session_ttl = "15s"' in text
    assert 'api_addr     = "http://127.20.77.12:8200"' in text


@pytest.mark.parametrize(("kind", "as_root"), [("mariadb", True), ("mariadb", False), ("mysql", False)])
def test_database_server(kind: str, as_root: bool) -> None:
    text = render(
        "mariadb/server.cnf.j2",
        TOPOLOGY,
        TOPOLOGY["mysql"],
        folder=FOLDER,
        socket=FOLDER / "s",
        init_file=FOLDER / "init.sql",
        kind=kind,
        share="/usr/share/mysql",
        as_root=as_root,
    )
    assert "bind-address = 127.20.77.13" in text
    assert "port         = 3306" in text
    assert bool(re.search(r"^user +=", text, re.M)) == as_root
    assert ("mysqlx = OFF" in text) == (kind == "mysql")
    assert ("skip-ssl" in text) == (kind == "mariadb")


def test_database_administrator_may_make_users_and_nothing_outside() -> None:
    text = render("mariadb/init.sql.j2", TOPOLOGY, password="not-a-secret")
    statements = [line for line in text.splitlines() if line.startswith("GRANT")]
    assert "GRANT CREATE USER ON *.* TO 'vaultadmin'@'%';" in statements
    assert [line for line in statements if "ON *.*" in line] == statements[:1]
    assert "IDENTIFIED BY 'not-a-secret'" in text


@pytest.mark.parametrize("name", ["todo", "todo-migrate"])
def test_policies_allow_one_credential_and_no_more(name: str) -> None:
    text = render(f"vault/policies/{name}.hcl", TOPOLOGY)
    paths = re.findall(r'path "([^"]+)"', text)
    assert f"mysql/creds/{name}" in paths
    assert not [path for path in paths if "*" in path or path.startswith("auth/")]


def test_todos_environment() -> None:
    text = render(
        "todo/todo.env.j2",
        TOPOLOGY,
        TOPOLOGY["todo0"],
        role_id="role",
        secret_id_file="/x/todo.secret",
        database_role="todo",
        extra={"TODO_HEALTH": "shallow"},
    )
    variables = dict(line.split("=", 1) for line in text.splitlines() if line)
    assert variables["TODO_NAME"] == "todo0"
    assert variables["CONSUL_HTTP_ADDR"] == "http://127.20.77.14:8500", "its own agent, nobody else's"
    assert variables["TODO_SECRET_ID_FILE"] == "/x/todo.secret"
    assert variables["TODO_HEALTH"] == "shallow"
    assert variables["TODO_CHECK_INTERVAL"] == "5"


def test_a_shell_reads_todos_environment_as_it_is_meant() -> None:
    awkward = {"TODO_SECRET_ID_FILE": "/a lab's/$HOME/x", "TODO_LOG_LEVEL": "info; echo hacked"}
    text = render(
        "todo/todo.env.j2",
        TOPOLOGY,
        TOPOLOGY["todo0"],
        role_id="role",
        secret_id_file=awkward["TODO_SECRET_ID_FILE"],
        database_role="todo",
        extra={"TODO_LOG_LEVEL": awkward["TODO_LOG_LEVEL"]},
    )
    for name, value in awkward.items():
        script = f'set -a; {text}\nprintf %s "${name}"'
        read = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
        assert read.stdout == value


def test_a_missing_value_is_an_error_and_not_an_empty_word() -> None:
    with pytest.raises(jinja2.UndefinedError, match="folder"):
        render("consul/agent.hcl.j2", TOPOLOGY, TOPOLOGY["consul"])


def test_no_template_names_a_version_or_an_address() -> None:
    for file in LAB_DATA.rglob("*.j2"):
        if "build" not in file.parts:
            assert not re.search(r"\b\d+\.\d+\.\d+\.\d+\b", file.read_text()), file
