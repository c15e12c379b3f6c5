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

import psutil

from helpers.drivers import Say, ports, providers, routes, rules, strays
from helpers.drivers.local import LocalDriver
from helpers.errors import LabError
from helpers.home import Home
from helpers.topology import Target

BRIDGE = "lab0"
PREFIX = "lab-"  # of the namespaces' names
TOOLS = (("ip", "iproute2"), ("nft", "nftables"))  # the programs that are called, and Debian's packages
FILTERED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")  # do bridges obey the rules of forwarding?
LEGACY = Path("/proc/net/ip_tables_names")  # the older tables, which nft does not show
METRIC = "9999"  # of the blackhole route: behind the bridge's own


def _run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = providers.run(*command, timeout=20)
    if check and done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise LabError(f"`{' '.join(command)}` failed: {reason}.")
    return done


def _inside(node: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return _run("ip", "netns", "exec", f"{PREFIX}{node}", *command, check=check)


def _space(node: str) -> Path:
    return Path(f"/run/netns/{PREFIX}{node}")


def _cable(node: str) -> Path:
    return Path(f"/sys/class/net/v-{node}")


@functools.cache
def can_delay() -> bool:
    """Say whether this kernel has netem, by trying it in a namespace that ends with the trial."""
    trial = ("unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms")
    return _run(*trial, check=False).returncode == 0


class NetnsDriver(LocalDriver):
    """Six nodes as groups of processes, each group in a namespace, under one supervisord."""

    name = "netns"

    @property
    def capabilities(self) -> frozenset[str]:  # type: ignore[override]
        """A network for each node; whether its packets can be delayed depends on the kernel."""
        return frozenset({"network", "delay"} if can_delay() else {"network"})

    def up(self, say: Say) -> None:
        """Build bridge and namespaces, clear what a crash left of them, then start supervisord."""
        self._refuse_unfit_machine()
        if self.alive:
            if self._whole():
                return
            say("the lab's network is damaged; making it anew")
            super().down(say)
        self.clear_strays(say)
        if self._remains():
            self._refuse_another(say)
            say("found the network of a lab that was not taken down; removing it")
            self._remove_network()
        self._refuse_taken_addresses()
        self._bar()
        try:
            self._build_network()
        except BaseException:  # a Ctrl-C too: half a network serves nobody
            self._remove_network()
            raise
        super().up(say)

    def down(self, say: Say) -> None:
        """End the programs, then remove namespaces, bridge and route of this lab, and nobody else's."""
        super().down(say)
        owner = self._owner()
        unnamed = not owner and self._barred() and self._inhabitant() is None  # ended before it had a name
        if owner == str(self.home.path) or unnamed:
            self._remove_network()

    @staticmethod
    def _owner() -> str | None:
        """Return the folder of the lab that made the bridge; empty for somebody else's, None without one."""
        try:
            return Path(f"/sys/class/net/{BRIDGE}/ifalias").read_text().strip()
        except OSError:
            return None

    @staticmethod
    def _refuse_unfit_machine() -> None:
        if sys.platform != "linux" or os.geteuid() != 0:
            raise LabError(
                "The netns driver needs Linux and root (sudo); use the local driver (unset LAB_DRIVER)."
            )
        for program, package in TOOLS:
            if shutil.which(program) is None:
                raise LabError(
                    f"The netns driver needs `{program}`; `lab doctor --fix` installs it ({package})."
                )
        chain = _run("nft", "list", "chain", "ip", "filter", "FORWARD", check=False).stdout
        if LEGACY.exists() and "filter" in LEGACY.read_text().split():
            chain += providers.run("iptables-legacy-save", "-t", "filter").stdout
        dropped = "policy drop" in chain or ":FORWARD DROP" in chain
        if FILTERED.exists() and FILTERED.read_text().strip() == "1" and dropped:
            raise LabError(
                "Docker's forwarding rules on this machine drop bridged traffic; "
                "run `sysctl net.bridge.bridge-nf-call-iptables=0` and try again."
            )

    def _refuse_taken_addresses(self) -> None:
        place = f"{self.topology.network}.0/24"
        if taken := routes.taken(place):
            raise LabError(f"The addresses {place} are in use here ({taken[0]}); end what uses them first.")

    def _bar(self) -> None:
        """Make the blackhole route, which the kernel gives to one lab only: the first step of all."""
        place = f"{self.topology.network}.0/24"
        if _run("ip", "route", "add", "blackhole", place, "metric", METRIC, check=False).returncode:
            raise LabError(f"{place} is in use by a lab that has just begun to start; one runs at a time.")

    def _build_network(self) -> None:
        network = self.topology.network
        _run("ip", "link", "add", BRIDGE, "type", "bridge")
        _run("ip", "link", "set", BRIDGE, "alias", str(self.home.path))  # whose it is
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

    def _parts(self) -> list[str]:
        """Return what there is of the nodes' namespaces and of the cables' outer ends, in words."""
        names = list(self.topology.nodes)
        spaces = [f"namespace {PREFIX}{name}" for name in names if _space(name).exists()]
        return spaces + [f"link v-{name}" for name in names if _cable(name).exists()]

    def _whole(self) -> bool:
        """Say whether this lab's network is all there, whatever a fault does to its packets."""
        if self._owner() != str(self.home.path) or not self._barred():
            return False
        address = _run("ip", "-o", "-4", "addr", "show", "dev", BRIDGE, "up", check=False).stdout
        plugged = [(_cable(node) / "master").resolve().name == BRIDGE for node in self.topology.nodes]
        spaces = [_space(node).exists() for node in self.topology.nodes]
        return f"{self.topology.network}.1/24" in address and all(plugged) and all(spaces)

    def _remains(self) -> bool:
        return self._barred() or self._owner() is not None or bool(self._parts())

    def _barred(self) -> bool:
        """Say whether the blackhole route stands, the first that is made and the last that is removed."""
        route = ("ip", "-o", "route", "show", "type", "blackhole", f"{self.topology.network}.0/24")
        return f"metric {METRIC}" in _run(*route, check=False).stdout

    def _inhabitant(self) -> str | None:
        """Return a process that runs in one of the namespaces, None when nobody lives there."""
        for node in self.topology.nodes:
            pids = _run("ip", "netns", "pids", f"{PREFIX}{node}", check=False).stdout.split()
            if pids:
                return f"process {pids[0]} on {node}"
        return None

    def _refuse_another(self, say: Say) -> None:
        """Leave another lab's network alone; of one whose folder is gone, end what still runs.

        Raises `LabError` for a network that is in use, or that no lab made.
        """
        place, owner = f"{self.topology.network}.0/24", self._owner()
        if owner == "" and not self._barred():  # with it, a lab was ended between the bridge and its name
            raise LabError(f"There is a bridge {BRIDGE} here that no lab made; rename or remove it first.")
        if owner is None and not self._barred():  # the route is made first and removed last
            raise LabError(f"There is a {self._parts()[0]} here that no lab made; rename or remove it first.")
        if owner and owner != str(self.home.path):
            if Home(Path(owner)).exists:
                raise LabError(
                    f"{place} is in use by the lab in {owner}; run `LAB_HOME={owner} lab down` first: "
                    "one lab of this driver runs at a time."
                )
            say("found the programs of a lab whose folder is gone; ending them")
            strays.end(strays.find(Path(owner)))
        if (who := self._inhabitant()) is not None:
            raise LabError(f"{place} is in use by another lab ({who}); take that one down first.")

    def _remove_network(self) -> None:
        if shutil.which("ip") is None:
            return  # so nothing was made either
        for node in self.topology.nodes:
            _run("ip", "link", "del", f"v-{node}", check=False)
            _run("ip", "netns", "del", f"{PREFIX}{node}", check=False)
        _run("ip", "link", "del", BRIDGE, check=False)
        route = f"{self.topology.network}.0/24"
        _run("ip", "route", "del", "blackhole", route, "metric", METRIC, check=False)

    def _command(self, target: Target, folder: Path) -> str:
        """Enter the node's namespace and become the program: `ip netns exec` replaces itself."""
        return f"ip netns exec {PREFIX}{target.node} {super()._command(target, folder)}"

    def _listening(self, target: Target, process: psutil.Process) -> list[int]:
        """Return what it listens on in its namespace: psutil knows the connections of its own."""
        return ports.listening(_inside(target.node, *ports.LISTENERS).stdout, process.pid)

    def _refuse_taken_ports(self) -> None:
        """Nothing to refuse: the namespaces are new, nobody listens in them."""

    def _check_free(self, target: Target) -> None:
        """Nothing to check: a namespace belongs to its node alone."""

    # ---- the network --------------------------------------------------------------------

    def cut(self, node: str, peers: list[str], percent: int = 100, deaf: bool = False) -> None:
        """Drop what passes between a node and some peers, or a part of it, by a table in its namespace."""
        _inside(node, "nft", rules.drop([self.topology[peer].address for peer in peers], percent, deaf))

    def unplug(self, node: str) -> None:
        """Take the node's end of the cable down."""
        _run("ip", "link", "set", f"v-{node}", "down")

    def delay(self, node: str, milliseconds: int) -> None:
        """Hold back each packet on its way out of the node's namespace."""
        _inside(node, "tc", "qdisc", "replace", "dev", "eth0", "root", "netem", "delay", f"{milliseconds}ms")

    def mend(self, node: str) -> None:
        """Plug in, drop our table and our delay."""
        if not _space(node).exists():
            return
        _run("ip", "link", "set", f"v-{node}", "up", check=False)
        _inside(node, "nft", rules.DELETE, check=False)
        _inside(node, "tc", "qdisc", "del", "dev", "eth0", "root", check=False)
