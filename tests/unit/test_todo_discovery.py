"""Discovery: what Consul's answers mean, and what happens when they stop."""

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from todo import discovery
from todo.discovery import Instance, Watcher, forget_environment, instances, next_index
from todo.errors import NoInstanceError


@pytest.fixture(autouse=True)
def nothing_of_consuls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what `lab env` may have exported."""
    for name in [name for name in os.environ if name.startswith("CONSUL_HTTP_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("known", "answered", "following"),
    [
        (None, "5", "5"),
        ("5", "5", "5"),
        ("5", "9", "9"),
        ("9", "5", None),
        ("5", "0", None),
        ("5", None, None),
    ],
)
def test_an_index_that_goes_backwards_starts_anew(
    known: str | None, answered: str | None, following: str | None
) -> None:
    assert next_index(known, answered) == following


def test_indexes_are_compared_as_numbers() -> None:
    assert next_index("9", "10") == "10"


def test_an_instance_without_an_address_has_its_nodes() -> None:
    entries = [
        {"Node": {"Address": "10.0.0.1"}, "Service": {"Address": "", "Port": 1, "Tags": None}},
        {"Node": {"Address": "10.0.0.1"}, "Service": {"Address": "10.0.0.2", "Port": 2, "Tags": ["active"]}},
    ]
    assert instances(entries) == (
        Instance("10.0.0.1", 1),
        Instance("10.0.0.2", 2, frozenset({"active"})),
    )


def test_the_last_known_list_is_kept_when_none_passes() -> None:
    watcher = Watcher("http://127.0.0.1:1", "mysql")
    watcher._answered.set()
    with pytest.raises(NoInstanceError, match="mysql"):
        watcher.all()
    watcher._learn((Instance("10.0.0.1", 3306),))
    watcher._learn(())
    assert watcher.all() == [Instance("10.0.0.1", 3306)]


def test_consuls_own_variables_are_taken_out_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "http://127.0.0.1:8500")
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "x")
    forget_environment()
    assert not [name for name in os.environ if name.startswith("CONSUL_HTTP_")]


def test_a_watcher_follows_an_agent_that_fails_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """First an error, then one instance, then (index gone backwards) another: no query is stuck."""
    monkeypatch.setattr(discovery, "RETRY", (0.01, 0.02))
    entry = '[{"Node": {"Address": "10.0.0.1"}, "Service": {"Address": "", "Port": %d, "Tags": []}}]'
    answers = [(500, None, ""), (200, "50", entry % 1), (200, "7", entry % 2)]
    asked: list[str] = []
    done = threading.Event()

    class Agent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if not answers:
                done.set()
                threading.Event().wait(2)
                return
            code, index, body = answers.pop(0)
            self.send_response(code)
            if index:
                self.send_header("X-Consul-Index", index)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    agent = ThreadingHTTPServer(("127.0.0.1", 0), Agent)
    agent.daemon_threads = True
    threading.Thread(target=agent.serve_forever, daemon=True).start()
    try:
        watcher = Watcher(f"http://127.0.0.1:{agent.server_port}", "mysql").start()
        assert watcher.wait(5)
        assert done.wait(5)
        assert watcher.all() == [Instance("10.0.0.1", 2)]
    finally:
        agent.shutdown()
        agent.server_close()
    assert "index" not in asked[1]
    assert "index=50" in asked[2]
    assert "index" not in asked[3], "the index went backwards: the query starts anew"
    assert all("passing=1" in path for path in asked)
