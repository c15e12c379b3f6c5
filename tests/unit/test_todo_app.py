"""The HTTP interface without a database: codes, bodies, headers, and what /openapi.json promises."""

import asyncio
import json
import threading
import time
from types import SimpleNamespace
from typing import Any

import httpx
import pymysql
import pytest

from todo import app
from todo.errors import UnavailableError
from todo.health import ANSWER_WITHIN, Checker
from todo.vault import Credential


class Memory:
    """The todos in a dictionary; `down` makes every call fail."""

    def __init__(self) -> None:
        self.todos: dict[int, dict[str, Any]] = {}
        self.down = ""
        self.why = "the service is starting"
        self.pool: Any = SimpleNamespace(
            credential=Credential("v-user", "the-password", time.monotonic(), 60.0, "mysql/creds/todo/x"),
            prove=lambda: None,
        )

    def check(self) -> None:
        if self.down == "bug":
            raise ZeroDivisionError
        if self.down:
            raise UnavailableError(self.down)

    def all(self) -> list[dict[str, Any]]:
        self.check()
        return [self.todos[i] for i in sorted(self.todos)]

    def get(self, todo_id: int) -> dict[str, Any] | None:
        self.check()
        return self.todos.get(todo_id)

    def insert(self, status: str, content: str) -> int:
        self.check()
        new = len(self.todos) + 1
        self.todos[new] = {"id": new, "status": status, "content": content}
        return new

    def update(self, todo_id: int, status: str, content: str) -> bool:
        self.check()
        if todo_id not in self.todos:
            return False
        self.todos[todo_id] = {"id": todo_id, "status": status, "content": content}
        return True

    def delete(self, todo_id: int) -> bool:
        self.check()
        return self.todos.pop(todo_id, None) is not None


class Service:
    """The application with everything behind it made up."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.rotation = SimpleNamespace(
            proved=threading.Event(), vault_reachable=True, late=False, fresh=lambda *_: False
        )
        self.rotation.proved.set()
        self.checker = Checker(
            "todo0",
            True,
            self.memory,  # type: ignore[arg-type]
            self.rotation,  # type: ignore[arg-type]
            with_vault=True,
        )
        self.app = app.build(self.memory, self.checker, 65536, 1024)  # type: ignore[arg-type]

    def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://todo") as client:
                return await client.request(method, path, **more)

        return asyncio.run(ask())


@pytest.fixture
def service() -> Service:
    return Service()


def test_a_todo_lives_from_post_to_delete(service: Service) -> None:
    made = service("POST", "/todo", json={"id": 0, "status": "new", "content": "x"})
    assert (made.status_code, made.headers["Location"]) == (201, "todo/1")
    assert made.json() == {"id": 1, "status": "new", "content": "x"}
    assert service("GET", "/todo/1").json() == made.json()
    changed = service("PUT", "/todo/1", json={"id": 9, "status": "done"})
    assert (changed.status_code, changed.json()) == (200, {"id": 1, "status": "done", "content": ""})
    assert service("GET", "/todo").json() == [changed.json()]
    gone = service("DELETE", "/todo/1")
    assert (gone.status_code, gone.content) == (204, b"")
    assert gone.headers["Content-Type"] == "application/json"
    assert service("DELETE", "/todo/1").status_code == 404
    assert service("GET", "/todo").text == "[]"


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "nonsense"])
@pytest.mark.parametrize(("method", "path"), [("POST", "/todo"), ("PUT", "/todo/1")])
def test_the_content_type_is_never_looked_at(service: Service, kind: str, method: str, path: str) -> None:
    service("POST", "/todo", json={})
    headers = {"Content-Type": kind} if kind else {}
    answer = service(method, path, content=b'{"status": "new"}', headers=headers)
    assert answer.json()["status"] == "new"


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "/todo", b"", 400),
        ("POST", "/todo", b"[]", 400),
        ("POST", "/todo", b"{", 400),
        ("PUT", "/todo/1", b"nonsense", 400),
        ("PUT", "/todo/x", b"{}", 400),
        ("PUT", "/todo/99", b"{}", 404),
        ("PUT", "/todo/99999999999999999999", b"{}", 404),
        ("GET", "/todo/x", b"", 400),
        ("GET", "/todo/1.0", b"", 400),
        ("GET", "/todo/2147483648", b"", 404),
        ("GET", "/todo/-1", b"", 404),
        ("DELETE", "/todo/x", b"", 400),
        ("DELETE", "/todo/0", b"", 404),
        ("PATCH", "/todo", b"", 405),
        ("POST", "/health", b"", 405),
        ("GET", "/nothing", b"", 404),
        ("POST", "/todo", b"x" * 65537, 413),
        ("PUT", "/todo/1", b"x" * 65537, 413),
    ],
)
def test_what_is_refused_is_refused_in_json(
    service: Service, method: str, path: str, body: bytes, code: int
) -> None:
    service("POST", "/todo", json={"content": "untouched"})
    answer = service(method, path, content=body)
    assert answer.status_code == code
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json()["error"]
    assert [todo["content"] for todo in service.memory.todos.values()] == ["untouched"]


def test_a_wrong_method_is_told_all_the_right_ones(service: Service) -> None:
    assert service("PATCH", "/todo").headers["Allow"] == "GET, POST"
    assert service("POST", "/todo/1").headers["Allow"] == "DELETE, GET, PUT"


def test_a_database_that_is_away_is_503_with_the_reason(service: Service) -> None:
    service.memory.down = "all connections to the database are busy"
    for method, path in [("GET", "/todo"), ("POST", "/todo"), ("PUT", "/todo/1"), ("DELETE", "/todo/1")]:
        answer = service(method, path, content=b"{}")
        assert (answer.status_code, answer.json()) == (503, {"error": service.memory.down})


def test_a_fault_of_the_program_is_500_in_json_and_tells_nothing(service: Service) -> None:
    service.memory.down = "bug"
    answer = service("GET", "/todo")
    assert (answer.status_code, list(answer.json())) == (500, ["error"])
    assert "Zero" not in answer.text


def test_every_answer_has_a_request_id_and_keeps_a_good_one(service: Service) -> None:
    assert len(service("GET", "/todo").headers["X-Request-Id"]) == 32
    assert service("GET", "/todo", headers={"X-Request-Id": "abc-1"}).headers["X-Request-Id"] == "abc-1"
    bad = {"X-Request-Id": 'x"; nonsense'}
    assert len(service("GET", "/todo", headers=bad).headers["X-Request-Id"]) == 32


def test_health_says_what_it_found_and_nothing_secret(service: Service) -> None:
    answer = service("GET", "/health")
    body = answer.json()
    assert (answer.status_code, body["status"], body["instance"]) == (200, "passing", "todo0")
    assert body["database"]["ok"]
    assert 59 < body["credential"]["expires_in"] <= 60
    assert "the-password" not in answer.text


@pytest.mark.parametrize("attribute", ["vault_reachable", "late"])
def test_without_vault_it_is_degraded_and_serves(service: Service, attribute: str) -> None:
    setattr(service.rotation, attribute, attribute == "late")
    answer = service("GET", "/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")


def test_it_is_not_healthy_before_it_proved_itself_and_while_it_drains(service: Service) -> None:
    service.rotation.proved.clear()
    assert service("GET", "/health").json()["status"] == "starting"
    service.rotation.proved.set()
    service.checker.draining = True
    answer = service("GET", "/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "draining")
    assert answer.headers["Connection"] == "close"
    assert service("POST", "/todo", json={}).status_code == 201, "it still serves"


def test_a_database_that_hangs_is_503_in_bounded_time(service: Service) -> None:
    released = threading.Event()
    service.memory.pool.prove = lambda: released.wait(5)
    begin = time.monotonic()
    try:
        answer = service("GET", "/health")
    finally:
        took = time.monotonic() - begin
        released.set()
    assert (answer.status_code, answer.json()["status"]) == (503, "failing")
    assert took < ANSWER_WITHIN + 0.5  # half a second for a busy machine; Consul's patience is 1 s


def test_a_locked_out_database_is_503_deep_and_200_shallow(service: Service) -> None:
    def refuse() -> None:
        raise pymysql.err.OperationalError(1142, "denied to 'v-user'")

    service.memory.pool.prove = refuse
    answer = service("GET", "/health")
    assert (answer.status_code, answer.json()["database"]["ok"]) == (503, False)
    assert "1142" in answer.json()["database"]["reason"]
    service.checker.deep = False
    answer = service("GET", "/health")
    assert (answer.status_code, answer.json()["database"]["ok"]) == (200, None)


def test_a_dead_credential_is_noticed_by_the_health_check_of_an_idle_instance(service: Service) -> None:
    def refuse() -> None:
        raise pymysql.err.OperationalError(1045, "denied")

    def fresh(dead: Credential, timeout: float) -> bool:
        service.memory.pool = SimpleNamespace(credential=dead, prove=lambda: None)
        return True

    service.memory.pool.prove = refuse
    service.rotation.fresh = fresh
    assert service("GET", "/health").status_code == 200


def test_without_a_credential_health_says_why(service: Service) -> None:
    service.memory.pool, service.memory.why = None, "the lease is over"
    answer = service("GET", "/health")
    assert (answer.status_code, answer.json()["database"]["reason"]) == (503, "the lease is over")
    assert answer.json()["credential"] is None


def test_openapi_describes_bodies_and_answers_truthfully(service: Service) -> None:
    described = service("GET", "/openapi.json").json()
    assert "422" not in json.dumps(described)
    paths = described["paths"]
    assert set(paths) == {"/health", "/todo", "/todo/{todo_id}"}
    for path, method, codes in [
        ("/health", "get", {"200", "503"}),
        ("/todo", "get", {"200", "503"}),
        ("/todo", "post", {"201", "400", "413", "503"}),
        ("/todo/{todo_id}", "get", {"200", "400", "404", "503"}),
        ("/todo/{todo_id}", "put", {"200", "400", "404", "413", "503"}),
        ("/todo/{todo_id}", "delete", {"204", "400", "404", "503"}),
    ]:
        operation = paths[path][method]
        assert codes == set(operation["responses"]) - {"default"}, (path, method)
        assert ("requestBody" in operation) == (method in ("post", "put"))
    body = paths["/todo"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"id", "status", "content"}
    assert not body.get("required")
    [parameter] = paths["/todo/{todo_id}"]["get"]["parameters"]
    assert parameter["schema"]["type"] == "integer"
    location = paths["/todo"]["post"]["responses"]["201"]["headers"]
    assert "Location" in location
