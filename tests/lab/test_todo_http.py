"""The service's whole HTTP interface on the real lab, and how an instance starts and ends."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from todo_instance import END, Instance, new_session, until

from helpers import Lab

OVERHEAD = 1.0
"""Seconds that a busy machine may add to a bound of the service."""


@pytest.fixture(scope="module")
def instance(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """One instance for the tests that only ask."""
    with Instance(lab, tmp_path_factory.mktemp("todo"), 8090) as running:
        yield running


@pytest.fixture
def todo(lab: Lab) -> Iterator[Any]:
    """Ask the lab's own todo0: `todo("GET", "/todo")`."""
    node, port = lab.topology["todo0"], lab.topology.ports["todo"]
    with new_session() as session:
        yield lambda method, path, **more: session.request(
            method, f"http://{node.address}:{port}{path}", timeout=10, **more
        )


@pytest.mark.parametrize(
    ("status", "content"),
    [
        ("new", "read a chapter"),
        ("", ""),
        ("späť", "日本語 🐳 ‏עברית"),
        ("x" * 255, "é" * 1024),
        ("' OR 1=1 --", "'; DROP TABLE todos; -- %s {0} \\ \" \x00 \n"),
        ("trailing ", "blanks  "),
    ],
)
def test_a_todo_is_stored_as_it_was_sent(todo: Any, status: str, content: str) -> None:
    made = todo("POST", "/todo", json={"id": 0, "status": status, "content": content})
    assert made.status_code == 201
    number = made.json()["id"]
    assert made.json() == {"id": number, "status": status, "content": content}
    assert made.headers["Location"] == f"todo/{number}"
    found = todo("GET", f"/todo/{number}")
    assert (found.status_code, found.json()) == (200, made.json())
    assert todo("DELETE", f"/todo/{number}").status_code == 204


def test_put_replaces_and_the_path_wins(todo: Any) -> None:
    number = todo("POST", "/todo", json={"status": "new", "content": "x"}).json()["id"]
    for _ in range(2):  # the second changes nothing and is 200 all the same
        changed = todo("PUT", f"/todo/{number}", json={"id": number + 1, "status": "done"})
        assert (changed.status_code, changed.json()) == (
            200,
            {"id": number, "status": "done", "content": ""},
        )
    assert todo("GET", f"/todo/{number}").json() == changed.json()
    assert todo("DELETE", f"/todo/{number}").status_code == 204
    assert todo("PUT", f"/todo/{number}", json={}).status_code == 404
    assert todo("GET", f"/todo/{number}").status_code == 404


def test_delete_takes_one_row_and_only_once(todo: Any) -> None:
    numbers = [todo("POST", "/todo", json={"content": "x"}).json()["id"] for _ in range(3)]
    gone = todo("DELETE", f"/todo/{numbers[1]}")
    assert (gone.status_code, gone.content) == (204, b"")
    assert gone.headers["Content-Type"] == "application/json"
    assert todo("DELETE", f"/todo/{numbers[1]}").status_code == 404
    left = [entry["id"] for entry in todo("GET", "/todo").json()]
    assert numbers[0] in left
    assert numbers[2] in left
    assert numbers[1] not in left
    assert left == sorted(left)
    for number in (numbers[0], numbers[2]):
        todo("DELETE", f"/todo/{number}")


def test_ids_are_the_databases_and_count_up(todo: Any) -> None:
    first = todo("POST", "/todo", json={"id": 0}).json()["id"]
    taken = todo("POST", "/todo", json={"id": first})
    assert taken.status_code == 201
    assert taken.json()["id"] > first
    for number in (first, taken.json()["id"]):
        assert todo("DELETE", f"/todo/{number}").status_code == 204


def test_both_instances_share_one_table(lab: Lab, todo: Any) -> None:
    number = todo("POST", "/todo", json={"content": "shared"}).json()["id"]
    other = f"http://{lab.topology['todo1'].address}:{lab.topology.ports['todo']}/todo/{number}"
    with new_session() as session:
        assert session.get(other, timeout=5).json()["content"] == "shared"
        assert session.delete(other, timeout=5).status_code == 204
    assert todo("GET", f"/todo/{number}").status_code == 404


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "image/png"])
def test_the_content_type_is_never_looked_at(todo: Any, kind: str | None) -> None:
    made = todo("POST", "/todo", data=b'{"status": "new"}', headers={"Content-Type": kind} if kind else {})
    assert (made.status_code, made.json()["status"]) == (201, "new")
    assert todo("DELETE", f"/todo/{made.json()['id']}").status_code == 204


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "/todo", b"", 400),
        ("POST", "/todo", b"{", 400),
        ("POST", "/todo", b"[]", 400),
        ("POST", "/todo", b'"text"', 400),
        ("POST", "/todo", b'{"status": 1}', 400),
        ("POST", "/todo", b'{"content": null}', 400),
        ("POST", "/todo", b'{"id": "1"}', 400),
        ("POST", "/todo", b'{"content": "\xff"}', 400),
        ("POST", "/todo", json.dumps({"content": "x" * 1025}).encode(), 400),
        ("POST", "/todo", json.dumps({"status": "x" * 256}).encode(), 400),
        ("PUT", "/todo/one", b"{}", 400),
        ("PUT", "/todo/2147483647", b"{}", 404),
        ("PUT", "/todo/99999999999999999999", b"{}", 404),
        ("GET", "/todo/1.5", b"", 400),
        ("GET", "/todo/%20", b"", 400),
        ("GET", "/todo/-1", b"", 404),
        ("GET", "/todo/1%20OR%201=1", b"", 400),
        ("DELETE", "/todo/all", b"", 400),
        ("DELETE", "/todo/0", b"", 404),
        ("PATCH", "/todo/1", b"{}", 405),
        ("DELETE", "/todo", b"", 405),
        ("GET", "/elsewhere", b"", 404),
    ],
)
def test_bad_input_is_refused_in_json_and_changes_nothing(
    todo: Any, method: str, path: str, body: bytes, code: int
) -> None:
    before = todo("GET", "/todo").json()
    answer = todo(method, path, data=body)
    assert answer.status_code == code
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json()["error"]
    assert todo("GET", "/todo").json() == before


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_413_and_the_service_goes_on(todo: Any, chunked: bool) -> None:
    body = b"x" * 1_000_000
    data = (body[i : i + 8192] for i in range(0, len(body), 8192)) if chunked else body
    answer = todo("POST", "/todo", data=data)
    assert (answer.status_code, list(answer.json())) == (413, ["error"])
    assert ("Content-Length" in answer.request.headers) is not chunked
    padded = b'{"status": "new"' + b" " * (65536 - 17) + b"}"
    assert len(padded) == 65536
    made = todo("POST", "/todo", data=iter([padded[:100], padded[100:]]) if chunked else padded)
    assert made.status_code == 201
    assert todo("DELETE", f"/todo/{made.json()['id']}").status_code == 204


def test_it_speaks_http_1_1_and_answers_nonsense(lab: Lab, todo: Any) -> None:
    assert todo("GET", "/todo").raw.version == 11
    address = (lab.topology["todo0"].address, lab.topology.ports["todo"])
    with socket.create_connection(address, timeout=5) as raw:
        raw.sendall(b"nonsense\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400")
    assert todo("GET", "/health").status_code == 200


def test_one_connection_serves_many_requests(lab: Lab) -> None:
    connection = http.client.HTTPConnection(
        lab.topology["todo0"].address, lab.topology.ports["todo"], timeout=5
    )
    try:
        connection.connect()
        for _ in range(3):
            ours = connection.sock
            connection.request("GET", "/health")
            assert connection.getresponse().read()
            assert connection.sock is ours, "the service closed the connection"
    finally:
        connection.close()


def test_health_says_what_it_found_and_nothing_secret(todo: Any) -> None:
    answer = todo("GET", "/health")
    body = answer.json()
    assert answer.status_code == 200
    assert body["status"] == "passing"
    assert body["instance"] == "todo0"
    assert body["database"]["ok"]
    assert 0 < body["credential"]["expires_in"] <= 60
    assert body["vault"] == {"reachable": True}
    assert "password" not in answer.text


def test_openapi_is_there_without_the_internet(todo: Any) -> None:
    assert set(todo("GET", "/openapi.json").json()["paths"]) == {"/health", "/todo", "/todo/{todo_id}"}


def test_a_stopped_database_is_503_in_bounded_time_and_forgotten_when_it_goes_on(
    lab: Lab, instance: Instance
) -> None:
    with new_session() as session:
        session.get(f"{instance.url}/todo", timeout=5)
        lab.pause("mysql:mariadb")
        try:
            begin = time.monotonic()
            answer = session.post(f"{instance.url}/todo", json={}, timeout=10)
            took = time.monotonic() - begin
            begin = time.monotonic()
            code, health = instance.health()
            asked = time.monotonic() - begin
        finally:
            lab.resume("mysql:mariadb")
        assert (answer.status_code, list(answer.json())) == (503, ["error"])
        # 2 s for the answer that does not come, 1 s for a connection: nothing is tried a second time.
        assert took < 3.0 + OVERHEAD
        assert (code, health["status"]) == (503, "failing")
        assert asked < 1.0, "Consul's check gives up after one second"
        assert until(lambda: session.get(f"{instance.url}/todo", timeout=5).status_code == 200, 5)
        assert until(instance.healthy, 5)


def test_it_serves_while_its_agent_is_stopped(lab: Lab, instance: Instance) -> None:
    lab.pause("todo0:agent")
    try:
        with new_session() as session:
            for _ in range(5):
                made = session.post(f"{instance.url}/todo", json={}, timeout=5)
                assert made.status_code == 201
                gone = session.delete(f"{instance.url}/{made.headers['Location']}", timeout=5)
                assert gone.status_code == 204
    finally:
        lab.resume("todo0:agent")


def registered(lab: Lab, name: str) -> bool:
    return name in lab.consul("todo0").agent.services()


def test_sigterm_drains_and_the_exit_code_is_0(lab: Lab, tmp_path: Path) -> None:
    """Eight requests wait for a locked row; the instance leaves Consul, answers them, and ends."""
    connection = lab.mysql()
    with Instance(lab, tmp_path, 8091) as instance, new_session() as session:
        assert until(lambda: registered(lab, instance.name), 5)
        number = session.post(f"{instance.url}/todo", json={"content": "locked"}).json()["id"]
        connection.begin()
        with connection.cursor() as cursor:
            cursor.execute("SELECT id FROM todos WHERE id = %s FOR UPDATE", (number,))
        answers: list[tuple[int, str]] = []

        def put() -> None:
            answer = requests.put(f"{instance.url}/todo/{number}", json={"status": "done"}, timeout=10)
            answers.append((answer.status_code, answer.headers.get("Connection", "")))

        clients = [threading.Thread(target=put) for _ in range(8)]
        for client in clients:
            client.start()
        time.sleep(0.3)  # all eight are with the database now; sent later they would be served as well
        begin = time.monotonic()
        instance.process.send_signal(signal.SIGTERM)
        assert until(lambda: instance.health()[1].get("status") == "draining", 1)
        assert until(lambda: not registered(lab, instance.name), 1), "it leaves Consul first"
        assert session.get(f"{instance.url}/todo/{number}", timeout=5).status_code == 200, "it still serves"
        assert not answers
        connection.commit()
        code = instance.process.wait(END)
        took = time.monotonic() - begin
        for client in clients:
            client.join(5)
    assert answers == [(200, "close")] * 8
    assert code == 0
    assert took < END
    left = users(lab)
    assert not [user for user in left if user in instance.log.read_text()], "its users are gone"
    with new_session() as session:
        url = f"http://{lab.topology['todo0'].address}:{lab.topology.ports['todo']}/todo/{number}"
        assert session.delete(url, timeout=5).status_code == 204
    connection.close()


def users(lab: Lab) -> list[str]:
    """Return the database users that Vault has made and not removed yet."""
    with lab.mysql_as("vaultadmin") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT User FROM mysql.user WHERE User LIKE 'v-%'")
        return [row[0] for row in cursor.fetchall()]


def test_a_wrapping_token_that_was_used_is_an_alarm_and_exit_code_3(lab: Lab, tmp_path: Path) -> None:
    instance = Instance(lab, tmp_path, 8092)
    lab.vault("vault0", token=instance.wrapping_token).sys.unwrap()  # the thief was faster
    instance.start()
    assert instance.process.wait(20) == 3
    log = instance.log.read_text()
    assert instance.events("alarm") == 1
    assert "was used before, has expired or is not valid" in log.splitlines()[-1]
    assert "Traceback" not in log
    assert not registered(lab, instance.name)


def test_a_wrapping_token_of_something_else_is_an_alarm(lab: Lab, tmp_path: Path) -> None:
    instance = Instance(lab, tmp_path, 8092)
    fake = lab.active_vault().sys.wrap({"secret_id": "not ours"}, ttl="60s")["wrap_info"]["token"]
    Path(instance.environment["TODO_SECRET_ID_FILE"]).write_text(fake)
    instance.start()
    assert instance.process.wait(20) == 3
    assert "was not made for a secret id" in instance.log.read_text()


def test_the_secret_id_is_used_once_and_its_file_is_gone(instance: Instance) -> None:
    file = Path(instance.environment["TODO_SECRET_ID_FILE"])
    assert not file.exists()
    again = subprocess.run(
        [sys.executable, "-m", "todo"],
        env=instance.environment,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert again.returncode == 2
    assert str(file) in again.stderr


def test_a_port_that_is_taken_wastes_no_secret_id(lab: Lab, instance: Instance, tmp_path: Path) -> None:
    port = int(instance.environment["TODO_PORT"])
    second = Instance(lab, tmp_path, port).start()
    assert second.process.wait(20) == 1
    assert second.log.read_text().count("\n") == 1
    assert f"cannot listen on {instance.url.removeprefix('http://')}" in second.log.read_text()
    assert Path(second.environment["TODO_SECRET_ID_FILE"]).exists()


def test_the_migration_may_run_again(lab: Lab, tmp_path: Path) -> None:
    lab.deploy  # noqa: B018  # its first run was part of reaching the state `deployed`
    instance = Instance(lab, tmp_path, 8093)
    approle = lab.active_vault().auth.approle
    wrapped = approle.generate_secret_id("todo-migrate", wrap_ttl="60s")["wrap_info"]["token"]
    Path(instance.environment["TODO_SECRET_ID_FILE"]).write_text(wrapped)
    role_id = approle.read_role_id("todo-migrate")["data"]["role_id"]
    done = subprocess.run(
        [sys.executable, "-m", "todo", "migrate"],
        env={**instance.environment, "TODO_ROLE_ID": role_id, "TODO_DATABASE_ROLE": "todo-migrate"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["did"] for line in told if line["event"] == "migrated"] == [
        "nothing: the table todos is there"
    ]
    assert not [user for user in users(lab) if "migrate" in user]


def test_logs_are_json_lines_with_request_ids_and_no_secret(lab: Lab, tmp_path: Path) -> None:
    """At the most talkative level, with a password that the test knows, through a failure too."""
    password = "known-to-the-test-only"
    admin = lab.mysql_as("vaultadmin")
    with admin.cursor() as cursor:
        cursor.execute(f"CREATE USER 'fixed'@'%' IDENTIFIED BY '{password}'")
        cursor.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON Todo.todos TO 'fixed'@'%'")
    file = tmp_path / "password"
    file.write_text(password)
    fixed = {
        "TODO_DATABASE_USER": "fixed",
        "TODO_DATABASE_PASSWORD_FILE": str(file),
        "TODO_LOG_LEVEL": "debug",
    }
    try:
        with Instance(lab, tmp_path, 8094, **fixed) as known:
            assert known.health()[1]["vault"] is None
            with new_session() as session:
                asked = session.post(
                    f"{known.url}/todo", json={"content": "private"}, headers={"X-Request-Id": "mine-1"}
                )
                session.delete(f"{known.url}/{asked.headers['Location']}")
                with admin.cursor() as cursor:
                    cursor.execute("DROP USER 'fixed'@'%'")
                assert session.get(f"{known.url}/todo", timeout=10).status_code == 503
    finally:
        with admin.cursor() as cursor:
            cursor.execute("DROP USER IF EXISTS 'fixed'@'%'")
        admin.close()
    with Instance(lab, tmp_path, 8095, TODO_LOG_LEVEL="debug") as usual:
        arguments = Path(f"/proc/{usual.process.pid}/cmdline")
        if arguments.exists():
            assert b"secret" not in arguments.read_bytes()
    for one in (known, usual):
        text = one.log.read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        assert all({"time", "level", "event", "instance"} <= set(line) for line in lines)
        assert password not in text
        assert "private" not in text
        assert one.wrapping_token not in text
        assert one.environment["TODO_ROLE_ID"] not in text
        assert not re.search(r"hv[sb]\.", text), "a token of Vault"
    ids = [line.get("request_id") for line in map(json.loads, known.log.read_text().splitlines())]
    assert "mine-1" in ids


def test_the_labs_own_logs_hold_no_secret(lab: Lab) -> None:
    for name in ("todo0:todo", "todo1:todo"):
        assert not re.search(r"hv[sb]\.", "\n".join(lab.logs(name)))


def test_missing_settings_are_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "todo"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
