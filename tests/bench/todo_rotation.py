"""Does a client notice that the credentials change? Sixty rotations under sixteen clients.

The lease is four seconds instead of sixty, so that sixty rotations take two and a half minutes.
Goal: no failed request.

    python tests/bench/todo_rotation.py [ROTATIONS]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))

from todo_instance import Instance, Load, lease

from helpers import Lab

CLIENTS = 16
LEASE = 4
POLL = 0.5
"""Seconds between two looks at who the database user is; a credential lives for two at least."""


def main(rotations: int) -> None:
    """Run the benchmark and print its table."""
    lab = Lab.at("deployed")
    at_most = time.monotonic() + rotations * LEASE + 30
    users: set[str] = set()
    with (
        tempfile.TemporaryDirectory() as folder,
        lease(lab, LEASE),
        Instance(lab, Path(folder), 8113) as instance,
    ):
        with Load(instance.url, CLIENTS) as load:
            while len(users) <= rotations and time.monotonic() < at_most:
                time.sleep(POLL)
                credential = instance.health()[1].get("credential")
                if credential:
                    users.add(credential["user"])
        twice = instance.events("statement_failed")
    took = sorted(load.seconds)
    print(f"\nPOST + DELETE, {CLIENTS} clients, leases of {LEASE} s")
    print(f"{'rotations':<28}{len(users) - 1:>9}")
    print(f"{'requests':<28}{load.total:>9}")
    print(f"{'statements tried twice':<28}{twice:>9}")
    for share, name in [(0.5, "median"), (0.99, "99th percentile"), (1.0, "longest")]:
        value = took[min(len(took) - 1, int(share * len(took)))]
        print(f"{name + ' request, ms':<28}{value * 1000:>9.1f}")
    print(f"{'failed requests':<28}{len(load.failures):>9}")
    held = not load.failures and len(users) > rotations
    print(f"goal {rotations} rotations and 0 failed requests: {'held' if held else 'broken'}")
    for failure in load.failures[:5]:
        print(f"  {failure}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
