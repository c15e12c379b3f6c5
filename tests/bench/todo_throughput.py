"""What the changing credentials cost: todo with Vault against todo with one fixed password.

Two instances on the same node, the same database, the same clients. They take turns within one
run and change their order every round, so that whatever else the machine does hits both; the
figure is the ratio of the medians. Goal: at least 0.95.

    python tests/bench/todo_throughput.py [ROUNDS]
"""

from __future__ import annotations

import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))

from todo_instance import Instance, Load

from helpers import Lab
from helpers.home import write_private

CLIENTS = 8
TURN = 2.5
"""Seconds of load for one instance in one round."""
GOAL = 0.95


def turn(instance: Instance) -> float:
    """Return the requests per second of one turn; a failed request ends the benchmark."""
    begin = time.perf_counter()
    with Load(instance.url, CLIENTS) as load:
        time.sleep(TURN)
    if load.failures:
        raise SystemExit(f"{len(load.failures)} requests failed: {load.failures[0]}")
    return load.total / (time.perf_counter() - begin)


def measure(lab: Lab, rounds: int, folder: Path) -> tuple[list[float], list[float]]:
    """Return the requests per second of every round: with Vault, with the fixed password."""
    password = secrets.token_urlsafe(24)
    write_private(folder / "password", password)
    fixed = {
        "TODO_DATABASE_USER": "fixed",
        "TODO_DATABASE_PASSWORD_FILE": str(folder / "password"),
    }
    with lab.mysql_as("vaultadmin") as admin, admin.cursor() as cursor:
        cursor.execute("CREATE USER 'fixed'@'%%' IDENTIFIED BY %s", (password,))
        cursor.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON Todo.todos TO 'fixed'@'%'")
        try:
            with Instance(lab, folder, 8111) as changing, Instance(lab, folder, 8112, **fixed) as constant:
                results: dict[str, list[float]] = {changing.name: [], constant.name: []}
                for number in range(rounds + 1):
                    pair = [changing, constant] if number % 2 else [constant, changing]
                    for instance in pair:
                        speed = turn(instance)
                        if number:  # the first round warms up
                            results[instance.name].append(speed)
                return results[changing.name], results[constant.name]
        finally:
            cursor.execute("DROP USER 'fixed'@'%'")


def main(rounds: int) -> None:
    """Run the benchmark and print its table."""
    lab = Lab.at("deployed")
    with tempfile.TemporaryDirectory() as folder:
        changing, constant = measure(lab, rounds, Path(folder))
    print(f"\nPOST + DELETE, {CLIENTS} clients, {rounds} rounds of {TURN:g} s each")
    print(f"{'credential':<16}{'median':>9}{'lowest':>9}{'highest':>9}   requests per second")
    for name, speeds in [("from Vault", changing), ("fixed password", constant)]:
        print(f"{name:<16}{statistics.median(speeds):9.0f}{min(speeds):9.0f}{max(speeds):9.0f}")
    ratio = statistics.median(changing) / statistics.median(constant)
    print(f"ratio of the medians {ratio:.3f}, goal at least {GOAL}: {'held' if ratio >= GOAL else 'broken'}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 12)
