"""The probes against made-up servers: every answer, and every way of not answering."""

import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

import dns.message
import pytest

from helpers import probes, rows, wire
from helpers.schedule import Reading

#: A network that no lab is on; each node's fake server has the address of its node.
PLACE = probes.Place(
    address={f"node{n}": f"127.99.98.{n}" for n in range(3)},
    service={},
    ports={},
)


Handler = Callable[[str, str, bytes], Awaitable[tuple[int, dict[str, str], Any]]]


class Server:
    """A tiny HTTP server on 127.0.0.1; `answer` says what to reply to (method, path, body)."""

    def __init__(self, answer: Handler) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str]] = []
        self.headers: list[str] = []

    async def __aenter__(self) -> "Server":
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                method, path, _ = head.split(" ", 2)
                length = next(
                    (int(h.split(":")[1]) for h in head.split("\r\n") if h.startswith("Content-L")),
                    0,
                )
                self.asked.append((method, path))
                self.headers.append(head)
                status, headers, body = await self.answer(method, path, await reader.readexactly(length))
                data = b"" if body is None else json.dumps(body).encode()
                extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                # chunked, as Go's servers do it for long bodies
                writer.write(f"HTTP/1.1 {status} X\r\n{extra}".encode())
                if body is None:
                    writer.write(b"\r\n" if status == 204 else b"Content-Length: 0\r\n\r\n")
                else:
                    chunks = b"".join(
                        b"%x\r\n%s\r\n" % (len(part), part) for part in (data[:7], data[7:]) if part
                    )
                    writer.write(b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def always(status: int, body: Any = None) -> Handler:
    async def answer(method: str, path: str, sent: bytes) -> tuple[int, dict[str, str], Any]:
        return status, {}, body

    return answer


async def never(method: str, path: str, sent: bytes) -> tuple[int, dict[str, str], Any]:
    await asyncio.sleep(60)
    raise AssertionError


async def hang_up(method: str, path: str, sent: bytes) -> tuple[int, dict[str, str], Any]:
    raise ConnectionResetError


def place(**ports: int) -> probes.Place:
    """All nodes at 127.0.0.1: one fake server per port."""
    return probes.Place(
        {"vault0": "127.0.0.1", "todo0": "127.0.0.1", "todo1": "127.0.0.1"},
        {"vault0": "vault", "todo0": "todo", "todo1": "todo"},
        ports,
    )


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def one(readings: list[Reading]) -> tuple[str, str]:
    (reading,) = readings
    return reading.raw, reading.error


# ---- HTTP -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (200, "none"),
        (429, "none"),
        (473, "none"),
        (474, "http_4xx"),
        (472, "http_4xx"),
        (500, "http_5xx"),
        (501, "http_5xx"),
        (503, "http_5xx"),
    ],
)
def test_vault_health_keeps_the_code(code: int, error: str) -> None:
    async def run() -> tuple[str, str]:
        async with Server(always(code, {"sealed": False})) as server:
            probe = probes.Health("vault0", place(vault=server.port), timeout=5)
            return one(await probe.ask(probe.choose()))

    assert asyncio.run(run()) == (str(code), error)


@pytest.mark.parametrize(("handler", "error"), [(never, "timeout"), (hang_up, "reset")])
def test_no_answer_has_its_category(handler: Handler, error: str) -> None:
    async def run() -> tuple[str, str]:
        async with Server(handler) as server:
            probe = probes.Health("vault0", place(vault=server.port), timeout=0.2)
            return one(await probe.ask(probe.choose()))

    assert asyncio.run(run()) == ("", error)


def test_nobody_listening_is_refused() -> None:
    probe = probes.Health("vault0", place(vault=free_port()), timeout=5)
    assert one(asyncio.run(probe.ask("vault0"))) == ("", "refused")


def test_something_else_than_http_is_no_answer() -> None:
    async def run() -> tuple[str, str]:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail.example SMTP\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            probe = probes.Health("vault0", place(vault=port), timeout=5)
            return one(await probe.ask("vault0"))

    assert asyncio.run(run()) == ("", "reset")


def test_without_a_token_nothing_is_known(tmp_path: Path) -> None:
    token = probes.Token(tmp_path / "token")
    probe = probes.Secret("vault0", place(vault=free_port()), 5, None, token)
    said = one(asyncio.run(probe.ask("vault0")))
    assert rows.state_of("secret", *said) == "unknown"


def test_a_secret_is_written_with_the_token_of_the_file(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    codes = iter([204, 307, 403])

    async def answer(method: str, path: str, body: bytes) -> tuple[int, dict[str, str], Any]:
        return next(codes), {"Location": "http://127.0.0.1:1/"}, None

    async def run() -> tuple[list[tuple[str, str]], Server]:
        async with Server(answer) as server:
            probe = probes.Secret("vault0", place(vault=server.port), 5, None, probes.Token(token))
            said = [one(await probe.ask("vault0"))]
            token.write_text("second\n")
            os.utime(token, ns=(0, time.time_ns() + 10**9))
            said += [one(await probe.ask("vault0")), one(await probe.ask("vault0"))]
            return said, server

    said, server = asyncio.run(run())
    assert said == [("204", "none"), ("307", "other"), ("403", "http_4xx")]
    assert server.asked == [("PUT", "/v1/cubbyhole/vault0")] * 3, "the redirect was followed"
    assert "X-Vault-Token: first\r\n" in server.headers[0]
    assert "X-Vault-Token: second\r\n" in server.headers[1]


def test_a_missing_agent_check_is_absent_and_a_silent_agent_unknown() -> None:
    entry = {"Node": "todo0", "ServiceName": "todo", "CheckID": "c", "Status": "passing"}
    answers = iter([(200, {"c": entry}), (200, {}), (500, None)])

    async def answer(method: str, path: str, body: bytes) -> tuple[int, dict[str, str], Any]:
        status, content = next(answers)
        return status, {}, content

    async def run() -> list[tuple[str, str]]:
        async with Server(answer) as server:
            probe = probes.AgentChecks("todo0", place(consul_http=server.port), 5)
            return [one(await probe.ask("todo0")) for _ in range(3)]

    assert asyncio.run(run()) == [("passing", "none"), ("absent", "none"), ("", "http_5xx")]


@pytest.mark.parametrize(
    ("code", "said", "raw", "error"),
    [
        (200, "127.20.20.10:8300", "127.20.20.10:8300", "none"),
        (200, "", "", "none"),
        (500, None, "", "http_5xx"),
    ],
)
def test_the_leader_as_an_agent_knows_it(code: int, said: Any, raw: str, error: str) -> None:
    async def run() -> tuple[str, str]:
        async with Server(always(code, said)) as server:
            probe = probes.Leader("todo0", place(consul_http=server.port), 5)
            return one(await probe.ask(probe.choose()))

    assert asyncio.run(run()) == (raw, error)


# ---- what a user does -------------------------------------------------------------------


class Todos:
    """A todo service that remembers; `broken` names methods that answer 503."""

    def __init__(self) -> None:
        self.kept: dict[int, str] = {}
        self.broken: set[str] = set()
        self.ids = count(1)

    async def __call__(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, str], Any]:
        if method in self.broken:
            return 503, {}, {"error": "no database"}
        number = int(path.rpartition("/")[2]) if path != "/todo" else 0
        if method == "POST":
            number = next(self.ids)
            self.kept[number] = json.loads(body)["content"]
            return 201, {}, {"id": number}
        if method == "DELETE":
            del self.kept[number]
            return 204, {}, None
        if number:
            return 200, {}, {"id": number, "content": self.kept[number]}
        return 200, {}, [{"id": k, "content": v} for k, v in self.kept.items()]


def test_a_todo_is_written_read_back_and_deleted() -> None:
    async def run() -> tuple[tuple[str, str], Server, Todos]:
        todos = Todos()
        async with Server(todos) as server:
            probe = probes.ReadWrite("todo0", place(todo=server.port), 5, None, "probe run")
            return one(await probe.ask("todo0")), server, todos

    said, server, todos = asyncio.run(run())
    assert said == ("204 @todo0", "none")
    assert [method for method, _ in server.asked] == ["POST", "GET", "DELETE"]
    assert not todos.kept


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_any_failing_part_fails_the_operation_and_is_swept_up(method: str) -> None:
    async def run() -> tuple[tuple[str, str], Todos]:
        todos = Todos()
        todos.kept[next(todos.ids)] = "a reader's own"
        async with Server(todos) as server:
            probe = probes.ReadWrite("todo0", place(todo=server.port), 5, None, "probe run")
            todos.broken = {method}
            said = one(await probe.ask("todo0"))
            todos.broken = set()
            assert probe.failed
            await probe.sweep()
            return said, todos

    said, todos = asyncio.run(run())
    assert said == ("503 @todo0", "http_5xx")
    assert list(todos.kept.values()) == ["a reader's own"]


def test_an_instance_that_drains_is_asked_on_another_connection() -> None:
    async def run() -> tuple[tuple[str, str], Todos]:
        todos = Todos()

        async def draining(method: str, path: str, body: bytes) -> tuple[int, dict[str, str], Any]:
            status, _, reply = await todos(method, path, body)
            return status, {"Connection": "close"}, reply

        async with Server(draining) as server:
            probe = probes.ReadWrite("todo0", place(todo=server.port), 5, None, "probe run")
            return one(await probe.ask("todo0")), todos

    said, todos = asyncio.run(run())
    assert said == ("204 @todo0", "none")
    assert not todos.kept


def test_another_todo_than_the_one_written_is_a_failure() -> None:
    async def wrong(method: str, path: str, body: bytes) -> tuple[int, dict[str, str], Any]:
        return (201 if method == "POST" else 200), {}, {"id": 1, "content": "somebody else's"}

    async def run() -> tuple[str, str]:
        async with Server(wrong) as server:
            probe = probes.ReadWrite("todo0", place(todo=server.port), 5, None, "probe run")
            return one(await probe.ask("todo0"))

    raw, error = asyncio.run(run())
    assert rows.state_of("todo", raw, error) == "down"


def test_discovery_offers_what_consul_would() -> None:
    view = probes.View(
        {
            ("vault0", "vault"): "critical active",
            ("vault1", "vault"): "passing active",
            ("todo0", "todo"): "passing",
            ("todo1", "todo"): "passing",
            ("todo2", "todo"): "critical",
            ("todo0", "serfHealth"): "passing",
            ("todo1", "serfHealth"): "critical",
        }
    )
    assert view.passing("vault", "active") == ["vault1"], "a killed leader keeps its tag"
    assert view.passing("todo") == ["todo0"], "a failed node takes its services along"


@pytest.mark.parametrize(("raw", "error"), [({}, "nxdomain"), (None, "servfail")])
def test_nobody_offered_fails_the_user(raw: dict[tuple[str, str], str] | None, error: str) -> None:
    probe = probes.ReadWrite("todo", place(todo=free_port()), 5, probes.View(raw), "probe run")
    assert probe.choose() == ""
    said = one(asyncio.run(probe.ask("")))
    assert said == ("", error)
    assert rows.state_of("todo", *said) == "down"


def test_a_retry_goes_to_another_instance() -> None:
    view = probes.View({("todo0", "todo"): "passing", ("todo1", "todo"): "passing"})

    async def run() -> tuple[tuple[str, str], tuple[str, str]]:
        async with Server(Todos()) as server:
            where = probes.Place(
                # nothing listens at the second loopback address: the server is on the first
                {"todo0": "127.99.98.1", "todo1": "127.0.0.1"},
                {"todo0": "todo", "todo1": "todo"},
                {"todo": server.port},
            )
            once = probes.ReadWrite("todo", where, 5, view, "probe run")
            twice = probes.Retry(where, 5, view, "probe run")
            return one(await once.ask("todo0")), one(await twice.ask("todo0"))

    assert asyncio.run(run()) == (("@todo0", "refused"), ("204 @todo1", "none"))


def test_the_ledger_remembers_what_nobody_acknowledged() -> None:
    view = probes.View({("todo0", "todo"): "passing"})
    log: list[dict[str, Any]] = []

    async def run() -> Todos:
        todos = Todos()
        async with Server(todos) as server:
            probe = probes.Ledger(place(todo=server.port), 5, view, "ledger run", log.append)
            await probe.ask(probe.choose())
            todos.broken = {"POST"}
            await probe.ask(probe.choose())
            return todos

    todos = asyncio.run(run())
    assert todos.kept == {1: "ledger run 0"}, "a ledger's todo stays"
    assert [(entry["id"], entry["content"]) for entry in log] == [
        (1, "ledger run 0"),
        (None, "ledger run 1"),
    ]


def test_a_credential_is_revoked_at_once(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t")
    view = probes.View({("vault0", "vault"): "passing active"})
    bodies: list[bytes] = []

    async def answer(method: str, path: str, body: bytes) -> tuple[int, dict[str, str], Any]:
        bodies.append(body)
        if method == "GET":
            return 200, {}, {"lease_id": "mysql/creds/todo/abc", "data": {}}
        return 204, {}, None

    async def run() -> tuple[tuple[str, str], Server]:
        async with Server(answer) as server:
            probe = probes.Credential(
                place(vault=server.port), 5, view, probes.Token(token), "mysql/creds/todo"
            )
            return one(await probe.ask(probe.choose())), server

    said, server = asyncio.run(run())
    assert said == ("200 @vault0", "none")
    assert server.asked == [("GET", "/v1/mysql/creds/todo"), ("PUT", "/v1/sys/leases/revoke")]
    assert json.loads(bodies[1]) == {"lease_id": "mysql/creds/todo/abc"}


# ---- DNS --------------------------------------------------------------------------------


class Names(asyncio.DatagramProtocol):
    """A DNS server with one answer: a code and addresses; None never answers."""

    def __init__(self, code: int | None, found: list[str]) -> None:
        self.code, self.found = code, found

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        if self.code is None:
            return
        reply = dns.message.make_response(dns.message.from_wire(data))
        reply.set_rcode(self.code)
        name = reply.question[0].name
        if self.found:
            reply.answer.append(dns.rrset.from_text(name, 0, "IN", "A", *self.found))
        # an answer to a question that nobody asked, first: it must not be taken
        other = bytearray(reply.to_wire())
        struct.pack_into(">H", other, 0, struct.unpack_from(">H", other)[0] ^ 1)
        self.transport.sendto(bytes(other), address)
        self.transport.sendto(reply.to_wire(), address)


@pytest.mark.parametrize(
    ("code", "found", "raw", "error", "state"),
    [
        (0, ["127.99.98.2", "127.99.98.1"], "node1,node2", "none", "up"),
        (0, [], "", "none", "down"),
        (3, [], "", "nxdomain", "down"),
        (2, [], "", "servfail", "unknown"),
        (None, [], "", "timeout", "unknown"),
    ],
)
def test_dns_as_a_client_sees_it(
    code: int | None, found: list[str], raw: str, error: str, state: str
) -> None:
    async def run() -> tuple[str, str]:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: Names(code, found), local_addr=("127.0.0.1", 0)
        )
        port = transport.get_extra_info("sockname")[1]
        where = probes.Place(PLACE.address | {"here": "127.0.0.1"}, {}, {"consul_dns": port})
        probe = probes.Name("todo", "here", where, timeout=0.3)
        try:
            return one(await probe.ask(probe.choose()))
        finally:
            transport.close()

    said = asyncio.run(run())
    assert said == (raw, error)
    assert rows.state_of("dns", *said) == state


def test_dns_at_a_dead_agent_is_refused_and_comes_back() -> None:
    async def run() -> list[tuple[str, str]]:
        loop = asyncio.get_running_loop()
        port = free_port()
        where = probes.Place({"here": "127.0.0.1"}, {}, {"consul_dns": port})
        probe = probes.Name("todo", "here", where, timeout=0.5)
        said = [one(await probe.ask("todo"))]
        transport, _ = await loop.create_datagram_endpoint(
            lambda: Names(0, ["127.0.0.1"]), local_addr=("127.0.0.1", port)
        )
        said.append(one(await probe.ask("todo")))
        transport.close()
        return said

    assert asyncio.run(run()) == [("", "refused"), ("here", "none")]


# ---- the catalog ------------------------------------------------------------------------


def entry(node: str, service: str, status: str, *tags: str) -> dict[str, Any]:
    check = "serfHealth" if not service else f"service:{node}"
    return {
        "Node": node,
        "CheckID": check,
        "ServiceName": service,
        "ServiceTags": list(tags),
        "Status": status,
    }


def listened(
    answers: list[tuple[int, int, Any]], until: int
) -> tuple[list[rows.Sample], list[str], probes.View]:
    """Listen to a fake Consul that gives these answers (status, index, entries), then waits."""
    written: list[rows.Sample] = []
    view = probes.View()
    left = iter(answers)

    async def answer(method: str, path: str, body: bytes) -> tuple[int, dict[str, str], Any]:
        for status, index, content in left:
            await asyncio.sleep(0.05 if "index" in path else 0)
            return status, {"X-Consul-Index": str(index)}, content
        return await never(method, path, body)

    async def run() -> list[str]:
        async with Server(answer) as server:
            begin = time.monotonic()
            where = probes.Place({"todo0": "127.0.0.1"}, {"todo0": "todo"}, {"consul_http": server.port})
            catalog = probes.Catalog(
                "todo0", where, view, lambda: time.monotonic() - begin, written.append, 0.3
            )
            listening = asyncio.create_task(catalog.listen())
            async with asyncio.timeout(10):
                while len(server.asked) < until:
                    await asyncio.sleep(0.01)
            listening.cancel()
            return [path for _, path in server.asked]

    return written, asyncio.run(run()), view


UP = [entry("todo0", "", "passing"), entry("todo0", "todo", "passing")]
DOWN = [entry("todo0", "", "passing"), entry("todo0", "todo", "critical")]


def test_a_change_has_a_narrow_edge() -> None:
    written, _, view = listened([(200, 7, UP), (200, 9, DOWN)], until=3)
    todo = [s for s in written if s.check == "todo"]
    assert [s.raw for s in todo] == ["passing", "passing", "critical"]
    first, still, changed = todo
    assert still.state == "up"
    assert changed.state == "down"
    # the question stood for 0.05 s; the edge is one round trip on loopback wide, not that
    assert first.sent < still.sent < changed.sent
    assert changed.sent - still.sent < 0.04
    assert [s.seq for s in todo] == [0, 1, 2]
    serf = [s for s in written if s.check == "serfHealth"]
    assert [s.raw for s in serf] == ["passing", "passing"], "confirmed, not changed"
    assert view.passing("todo") == []


def test_an_index_that_goes_backwards_starts_anew() -> None:
    _, asked, _ = listened([(200, 700, UP), (200, 12, UP), (200, 13, DOWN)], until=4)
    questions = [path.partition("?")[2].partition("&")[0] for path in asked]
    assert questions == ["", "index=700", "", "index=13"]


@pytest.mark.parametrize(
    ("failure", "error"), [((500, 0, None), "http_5xx"), ((200, 8, [{"Nodes": 3}]), "other")]
)
def test_a_silent_agent_makes_its_catalog_unknown_and_is_asked_again(
    failure: tuple[int, int, Any], error: str
) -> None:
    written, asked, view = listened([(200, 7, UP), failure, (200, 8, UP)], until=4)
    todo = [(s.raw, s.state, s.error) for s in written if s.check == "todo"]
    assert todo == [
        ("passing", "up", "none"),
        ("", "unknown", error),
        ("passing", "up", "none"),
    ]
    assert "index" not in asked[2], "a new agent may know nothing of the old index"
    assert view.raw is not None


def test_a_frozen_agent_is_unknown_after_the_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helpers.probes.catalog.HOLD", 0.2)
    written, _, view = listened([(200, 7, UP)], until=3)
    todo = [(s.state, s.error) for s in written if s.check == "todo"]
    assert todo[:2] == [("up", "none"), ("unknown", "timeout")]
    assert view.raw is None


def test_a_service_counts_with_its_worst_check_and_its_role() -> None:
    maintenance = entry("todo0", "todo", "critical") | {"CheckID": "_service_maintenance:todo0"}
    assert probes.fold([*UP, maintenance])["todo0", "todo"] == "critical"
    assert probes.fold([maintenance, *UP])["todo0", "todo"] == "critical"
    vault = probes.fold([entry("vault0", "vault", "passing", "standby", "initialized")])
    assert vault["vault0", "vault"] == "passing standby"


def test_a_service_that_is_gone_is_absent() -> None:
    written, _, _ = listened([(200, 7, UP), (200, 8, [UP[0]])], until=3)
    last = [s for s in written if s.check == "todo"][-1]
    assert (last.raw, last.state) == ("absent", "down")


# ---- processes --------------------------------------------------------------------------


def test_a_process_is_running_then_stopped_then_gone(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    pids = tmp_path / "pids.json"
    probe = probes.Processes(["todo0:todo", "todo1:todo"], pids)

    def look() -> dict[str, tuple[str, str]]:
        return {r.target: (r.raw, r.error) for r in asyncio.run(probe.ask("host"))}

    def becomes(raw: str) -> None:
        limit = time.monotonic() + 10
        while look()["todo0:todo"] != (raw, "none"):
            assert time.monotonic() < limit, look()
            time.sleep(0.01)

    try:
        assert look()["todo0:todo"] == ("", "other"), "no file: nothing is known"
        pids.write_text(json.dumps({"todo0:todo": child.pid}))
        becomes("running")
        assert look()["todo1:todo"] == ("gone", "none")
        child.send_signal(signal.SIGSTOP)
        becomes("stopped")
        child.send_signal(signal.SIGCONT)
        becomes("running")
        child.kill()
        becomes("gone")
    finally:
        child.kill()
        child.wait()
    pids.write_text(json.dumps({"todo0:todo": os.getpid()}))
    os.utime(pids, ns=(0, time.time_ns() + 10**9))
    becomes("running")


def test_a_process_younger_than_the_file_is_somebody_else(tmp_path: Path) -> None:
    pids = tmp_path / "pids.json"
    pids.write_text(json.dumps({"todo0:todo": os.getpid()}))
    os.utime(pids, (0, 0))
    probe = probes.Processes(["todo0:todo"], pids)
    assert [r.raw for r in asyncio.run(probe.ask("host"))] == ["gone"]


def test_every_error_of_the_network_has_its_category() -> None:
    assert wire.category(TimeoutError()) == "timeout"
    assert wire.category(ConnectionRefusedError()) == "refused"
    assert wire.category(ConnectionResetError()) == "reset"
    assert wire.category(OSError("no route to host")) == "other"
