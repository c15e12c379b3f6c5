"""What users of todo get: todos written and read, with and without a second attempt, and counted."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from itertools import count
from typing import Any

from helpers import wire
from helpers.probes.asking import Place, within
from helpers.probes.users import User
from helpers.probes.view import View
from helpers.schedule import Reading


class ReadWrite(User):
    """What a user of todo does: a todo of the probe's own is written, read back and deleted.

    All three go to one instance, over one connection unless it asks for another, as one operation
    with one time-out.
    """

    source = "todo"
    check = "rw"

    def __init__(self, target: str, place: Place, timeout: float, view: View | None, mark: str) -> None:
        """Write todos whose content begins with `mark`, so that a left over one is known."""
        super().__init__(target, place, timeout, view)
        self._mark = mark
        self._values = count()
        self.attempt_timeout = timeout
        self.failed = False

    async def ask(self, chosen: str) -> list[Reading]:
        """Raw is the code of the request that failed, or of the last, and the instance."""
        return self._reading(chosen, *await self.attempt(chosen))

    async def attempt(self, chosen: str) -> tuple[wire.Reply | None, str]:
        """Do the operation at one instance."""
        if not chosen:
            return None, self.nowhere()[0].error
        reply, error = await within(self.attempt_timeout, self._operation(chosen))
        self.failed |= error != "none"
        return reply, error

    def _reading(self, chosen: str, reply: wire.Reply | None, error: str) -> list[Reading]:
        answer = "" if reply is None else str(reply.status)
        raw = f"{answer} @{chosen}".strip() if chosen else ""
        return [Reading(self.target, self.check, raw, error)]

    def silence(self, chosen: str, raw: str, error: str) -> list[Reading]:
        """Return one reading; the instance stands in `raw` for direct probes too."""
        return [Reading(self.target, self.check, raw or (chosen and f"@{chosen}"), error)]

    async def _operation(self, node: str) -> wire.Reply:
        content = f"{self._mark} {self.target} {next(self._values)}"
        body = json.dumps({"id": 0, "status": "new", "content": content}).encode()
        talk = await self._open(node)
        try:
            written = await talk.ask("POST", "/todo", body)
            if written.status != 201:
                return written
            path = f"/todo/{json.loads(written.body)['id']}"
            talk = await self._open(node, talk)
            found = await talk.ask("GET", path)
            if found.status != 200:
                return found
            if json.loads(found.body)["content"] != content:
                raise ConnectionResetError("another todo than the one written came back")
            talk = await self._open(node, talk)
            return await talk.ask("DELETE", path)
        finally:
            talk.end()

    async def _open(self, node: str, last: wire.Conversation | None = None) -> wire.Conversation:
        """Return the last connection, or a new one when the last answer said that it closes.

        An instance that drains says so (RFC 9112, 9.6), and it still takes new connections.
        """
        if last is not None and not last.closed:
            return last
        if last is not None:
            last.end()
        return await wire.converse(self.place.address[node], self.place.ports["todo"])

    async def sweep(self) -> None:
        """Delete what failed operations left behind, as far as an instance answers."""
        node = self.choose()
        if not node:
            return
        where = self.place.address[node], self.place.ports["todo"]
        reply = await wire.ask(*where, "GET", "/todo")
        if reply.status == 200:
            for todo in json.loads(reply.body):
                if todo["content"].startswith(f"{self._mark} "):
                    await wire.ask(*where, "DELETE", f"/todo/{todo['id']}")


class Retry(ReadWrite):
    """The same with what a careful client adds: one more attempt at another instance."""

    check = "rw-retry"

    def __init__(self, place: Place, timeout: float, view: View, mark: str) -> None:
        """Give each of the two attempts half of the time-out."""
        super().__init__("todo", place, timeout, view, mark)
        self.attempt_timeout = timeout / 2

    async def ask(self, chosen: str) -> list[Reading]:
        """Raw names the instance of the last attempt."""
        assert self.view is not None
        reply, error = await self.attempt(chosen)
        others = [node for node in self.view.passing(self.target) if node != chosen]
        if error == "none" or not others:
            return self._reading(chosen, reply, error)
        second = random.choice(others)
        return self._reading(second, *await self.attempt(second))


class Ledger(User):
    """Writes todos that stay, and logs what became of each, to be checked one by one.

    An experiment asks afterwards: is every acknowledged todo in the table, and how many are
    there that nobody acknowledged?
    """

    source = "todo"
    check = "ledger"

    def __init__(
        self,
        place: Place,
        timeout: float,
        view: View,
        mark: str,
        log: Callable[[dict[str, Any]], None],
    ) -> None:
        """Write todos with content `MARK NUMBER`; `log` is called with each outcome."""
        super().__init__("todo", place, timeout, view)
        self._mark = mark
        self._log = log
        self._values = count()

    async def ask(self, chosen: str) -> list[Reading]:
        """Write one; its id is None in the log when nobody acknowledged it."""
        if not chosen:
            return self.nowhere()
        content = f"{self._mark} {next(self._values)}"
        body = json.dumps({"id": 0, "status": "new", "content": content}).encode()
        address, port = self.place.address[chosen], self.place.ports["todo"]
        reply, error = await within(self.timeout, wire.ask(address, port, "POST", "/todo", body))
        acknowledged = reply is not None and reply.status == 201
        number = json.loads(reply.body)["id"] if reply is not None and acknowledged else None
        self._log({"id": number, "content": content, "instance": chosen, "error": error})
        return self.read(chosen, reply, error)
