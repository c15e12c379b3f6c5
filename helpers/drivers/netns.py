"""The `netns` driver: the same programs, each node in a network namespace of its own (Linux, root).

A bridge on the host joins them, so the notebook reaches 172.20.20.10–15 directly, and a node can
really be cut off or unplugged. While the lab exists a blackhole route stands behind the bridge: when
the bridge is gone, requests to the lab's addresses end on this machine and not at somebody else's.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

from helpers.drivers import Say, rules
from helpers.drivers.local import LocalDriver
from helpers.errors import LabError
from helpers.topology import Target

BRIDGE = "lab0"
PREFIX = "lab-"  # of the namespaces' names
TOOLS = (("ip", "iproute2"), ("nft", "nftables"))  # the programs that are called, and Debian's packages
METRIC = "9999"  # of the blackhole route: behind the bridge's own


def _run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    if check and done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise LabError(f"`{' '.join(command)}` failed: {reason}.")
    return done


def _inside(node: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return _run("ip", "netns", "exec", f"{PREFIX}{node}", *command, check=check)


@functools.cache
def can_delay() -> bool:
    """Say whether this kernel has netem, by trying it in a namespace that ends with the trial."""
    trial = ("unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms")
    try:
        return _run(*trial, check=False).returncode == 0
    except FileNotFoundError:
        return False


class NetnsDriver(LocalDriver):
    """Six nodes as groups of processes, each group in a namespace, under one supervisord."""

    name = "netns"

    @property
    def capabilities(self) -> frozenset[str]:  # type: ignore[override]
        """A network for each node; whether its packets can be delayed depends on the kernel."""
        return frozenset({"network", "delay"} if can_delay() else {"network"})

    def up(self, say: Say) -> None:
        """Build bridge and namespaces, clear what a crash left of them, then start supervisord."""
        if self.alive:
            return
        self._refuse_unfit_machine()
        self.clear_strays(say)
        if self._remains():
            self._refuse_inhabited()
            say("found the network of a lab that was not taken down; removing it")
            self._remove_network()
        try:
            self._build_network()
        except LabError:
            self._remove_network()
            raise
        super().up(say)

    def down(self, say: Say) -> None:
        """End the programs, then remove namespaces, bridge and route, and nothing else."""
        super().down(say)
        self._remove_network()

    @staticmethod
    def _refuse_unfit_machine() -> None:
        if sys.platform != "linux" or os.geteuid() != 0:
            raise LabError("The netns driver needs Linux and root; use the local driver (unset LAB_DRIVER).")
        for program, package in TOOLS:
            if shutil.which(program) is None:
                raise LabError(
                    f"The netns driver needs `{program}`; `lab doctor --fix` installs it ({package})."
                )
        forwarding = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
        chain = _run("nft", "list", "chain", "ip", "filter", "FORWARD", check=False).stdout
        if forwarding.exists() and forwarding.read_text().strip() == "1" and "policy drop" in chain:
            raise LabError(
                "Docker's forwarding rules on this machine drop bridged traffic; "
                "run `sysctl net.bridge.bridge-nf-call-iptables=0` and try again."
            )

    def _build_network(self) -> None:
        network = self.topology.network
        taken = _run("ip", "-o", "route", "show", "root", f"{network}.0/24").stdout.strip()
        if taken:
            raise LabError(
                f"The addresses {network}.0/24 are in use here ({taken}); end what uses them first."
            )
        _run("ip", "route", "add", "blackhole", f"{network}.0/24", "metric", METRIC)
        _run("ip", "link", "add", BRIDGE, "type", "bridge")
        _run("ip", "addr", "add", f"{network}.1/24", "dev", BRIDGE)
        _run("ip", "link", "set", BRIDGE, "up")
        for node in self.topology.nodes.values():
            space, outer = f"{PREFIX}{node.name}", f"v-{node.name}"
            _run("ip", "netns", "add", space)
            _run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
            _run("ip", "link", "set", outer, "master", BRIDGE, "up")
            _run("ip", "-n", space, "link", "set", "lo", "up")
            _run("ip", "-n", space, "addr", "add", f"{node.address}/24", "dev", "eth0")
            _run("ip", "-n", space, "link", "set", "eth0", "up")

    def _remains(self) -> bool:
        return Path(f"/sys/class/net/{BRIDGE}").exists() or any(
            Path(f"/run/netns/{PREFIX}{node}").exists() for node in self.topology.nodes
        )

    def _refuse_inhabited(self) -> None:
        """Leave another lab's network alone: one with processes in it is in use."""
        for node in self.topology.nodes:
            pids = _run("ip", "netns", "pids", f"{PREFIX}{node}", check=False).stdout.split()
            if pids:
                raise LabError(
                    f"{self.topology.network}.0/24 is in use by another lab (process {pids[0]} on {node}); "
                    "take that one down first: one lab of this driver runs at a time."
                )

    def _remove_network(self) -> None:
        for node in self.topology.nodes:
            _run("ip", "link", "del", f"v-{node}", check=False)
            _run("ip", "netns", "del", f"{PREFIX}{node}", check=False)
        _run("ip", "link", "del", BRIDGE, check=False)
        route = f"{self.topology.network}.0/24"
        _run("ip", "route", "del", "blackhole", route, "metric", METRIC, check=False)

    def _command(self, target: Target, folder: Path) -> str:
        """Enter the node's namespace and become the program: `ip netns exec` replaces itself."""
        return f"ip netns exec {PREFIX}{target.node} {super()._command(target, folder)}"

    def _refuse_taken_ports(self) -> None:
        """Nothing to refuse: the namespaces are new, nobody listens in them."""

    def _check_free(self, target: Target) -> None:
        """Nothing to check: a namespace belongs to its node alone."""

    # ---- the network --------------------------------------------------------------------

    def cut(self, node: str, peers: list[str], percent: int = 100) -> None:
        """Drop what passes between a node and its peers, or a part of it, by a table in its namespace."""
        _inside(node, "nft", rules.drop([self.topology[peer].address for peer in peers], percent))

    def unplug(self, node: str) -> None:
        """Take the node's end of the cable down."""
        _run("ip", "link", "set", f"v-{node}", "down")

    def delay(self, node: str, milliseconds: int) -> None:
        """Hold back each packet on its way out of the node's namespace."""
        _inside(node, "tc", "qdisc", "replace", "dev", "eth0", "root", "netem", "delay", f"{milliseconds}ms")

    def mend(self, node: str) -> None:
        """Plug in, drop our table and our delay."""
        if not Path(f"/run/netns/{PREFIX}{node}").exists():
            return
        _run("ip", "link", "set", f"v-{node}", "up", check=False)
        _inside(node, "nft", rules.DELETE, check=False)
        _inside(node, "tc", "qdisc", "del", "dev", "eth0", "root", check=False)
