"""The `vagrant` driver: six machines by lab/Vagrantfile, each program a systemd unit on its machine.

A machine finds its node's configuration, data and logs by shared folders at the same absolute path as here,
so what the local driver would run here runs there as it is. One kept SSH connection per machine carries the
verbs; the provider itself is asked for what a machine cannot do to itself: losing its power.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from helpers import owners
from helpers.drivers import (
    Process,
    Say,
    Signal,
    guest,
    guest_python,
    host,
    inside,
    rules,
    strays,
    vagrant_command,
)
from helpers.drivers.local import RECORDER, LocalDriver
from helpers.drivers.providers import Docker, Provider, choose
from helpers.drivers.remote import Remote, UnreachableError
from helpers.errors import LabError
from helpers.home import Home, write_private
from helpers.topology import LAB_DATA, REPOSITORY, Target, Topology, load
from helpers.waiting import until

FILES = LAB_DATA / ".vagrant"  # where `cd lab && vagrant …` looks, too: one lab of this driver per checkout
SHARED = "lab.json"  # what the Vagrantfile reads of one lab
BOOTING = "booting"  # which `vagrant up` of the reader's own came last
BRIDGE = "labv0"
_PIDS = threading.Lock()  # two deployments side by side write the same file
PATIENCE = {"boot": 1800.0, "destroy": 600.0, "on": 60.0}  # seconds; a first boot fetches a box


def network() -> str:
    """Return the network of new machines: `LAB_NETWORK`, or the topology's for the environment's provider."""
    return _chosen_network() or _network_of(choose(FILES, os.environ.get("VAGRANT_DEFAULT_PROVIDER") or None))


def _chosen_network() -> str | None:
    if not (chosen := os.environ.get("LAB_NETWORK")):
        return None
    with contextlib.suppress(ValueError):
        if ipaddress.ip_network(f"{chosen}.0/24").is_private and not chosen.startswith("127."):
            return chosen
    raise LabError(
        f"LAB_NETWORK is {chosen[:40]!r}; give a private network's first three numbers, such as 10.20.20."
    )


def _network_of(provider: Provider) -> str:
    return load("virtualbox" if provider.name == "virtualbox" else "vagrant").network


class VagrantDriver(LocalDriver):
    """Six machines. The supervisor on this one runs the recorder and nothing else."""

    name = "vagrant"
    capabilities = frozenset({"network", "power"})

    def __init__(self, home: Home, topology: Topology) -> None:
        super().__init__(home, topology)
        # Whatever the environment says now: machines belong to the provider that made them.
        made = next((file.parent.name for file in FILES.glob("machines/*/*/id")), None)
        self._wanted = made or os.environ.get("VAGRANT_DEFAULT_PROVIDER") or self._shared().get("provider")
        self._remote = Remote(home.runtime, self._ssh)
        self._chosen: Provider | None = None

    def _ssh(self, node: str) -> list[str]:
        """Return ssh's options for a machine; of a virtual one Vagrant is asked, once after each boot."""
        file = self.provider.ssh_config(node)
        if not isinstance(self.provider, Docker) and not file.exists():
            vagrant_command.write_ssh_config(FILES, node, file)
        return self.provider.ssh(node)

    @property
    def provider(self) -> Provider:
        """The provider that runs this lab's machines."""
        if self._chosen is None:
            self._chosen = choose(FILES, self._wanted)
        return self._chosen

    @property
    def as_root(self) -> bool:  # type: ignore[override]
        """Whether units run as root: on virtual machines, which share no users with this one."""
        return not isinstance(self.provider, Docker)

    @property
    def sees_processes(self) -> bool:  # type: ignore[override]
        """Whether this machine's kernel runs the nodes: containers, on Linux."""
        return any(inside.here(self.provider.processes(node)) for node in self.provider.made())

    # ---- preparing ----------------------------------------------------------------------

    def prepare(self, say: Say) -> None:
        """Write what the Vagrantfile and the machines read, and make what they share; no machine is touched.

        Raises `LabError` when this host or its provider cannot do it.
        """
        self._refuse_unfit_machine()
        self.provider.refuse_unfit()
        shared: dict[str, Any] = {
            "home": str(self.home.path),
            "network": self.topology.network,
            "provider": self.provider.name,
        }
        if isinstance(self.provider, Docker):
            shared |= {
                "key": str(Docker.key()),
                "image": guest.image(self.home, say),
                "api": self.provider.api(),
            }
        packages = guest_python.folder()
        programs = guest.programs(self.home)
        folders = {}
        for node in self.topology.nodes.values():
            own = [self.home.folder("nodes", node.name), self.home.folder("logs"), programs]
            if "todo" in node.programs:
                own += [packages, REPOSITORY / "todo"]
            folders[node.name] = [str(folder) for folder in own]
        self._write_units()
        FILES.mkdir(exist_ok=True)
        write_private(FILES / SHARED, json.dumps({**shared, "folders": folders}, indent=2) + "\n")

    def _refuse_unfit_machine(self) -> None:
        host.refuse_unfit()
        self._refuse_another_network()
        owner = self._owner()
        if owner.path != self.home.path and owner.exists and self.provider.made():
            raise LabError(
                f"The machines of lab/Vagrantfile belong to the lab in {owner.path}; "
                f"run `LAB_HOME={owner.path} lab down --purge` first."
            )
        if not self.provider.made():
            for other in self.provider.labs():
                if other != self.home.path and Home(other).exists:
                    raise LabError(
                        f"The lab in {other} has such machines, of another checkout; run `LAB_HOME={other} "
                        "lab down --purge` there first: there is one bridge for all."
                    )
                # Nobody else will: its folder is gone, or lab/.vagrant is, from which these are known.
                self.provider.sweep(other, self.topology.network)
            host.refuse_little_memory(self.provider)
            if not Path(f"/sys/class/net/{BRIDGE}").exists():
                host.refuse_taken_addresses(self.provider, self.topology.network)

    def _refuse_another_network(self) -> None:
        """Refuse new machines elsewhere: what the lab has kept is full of its addresses.

        A network that was chosen once need not be chosen again; another provider's own cannot be used.
        """
        chosen, kept, own = _chosen_network(), self.topology.network, _network_of(self.provider)
        anothers = {load(kind).network for kind in ("virtualbox", "vagrant")} - {own}
        if (kept != chosen if chosen else kept in anothers) and not self.provider.made():
            raise LabError(
                f"The lab in {self.home.path} was made on {kept}.0/24, and new machines would be on "
                f"{chosen or own}.0/24; run `lab down --purge` first, which removes its data too."
            )

    @staticmethod
    def _shared() -> dict[str, Any]:
        try:
            loaded: dict[str, Any] = json.loads((FILES / SHARED).read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return loaded

    def _write_units(self) -> None:
        guest.write_units(self.home, self.topology, containers=isinstance(self.provider, Docker))

    # ---- the machines -------------------------------------------------------------------

    def up(self, say: Say) -> None:
        """Prepare, boot the machines that are not there, and start the recorder's supervisor."""
        regular = [node.name for node in self.topology.regular()]
        if self.alive and all(self._booted(node) and self.provider.running(node) for node in regular):
            return
        if FILES.exists() and not self._owner().exists:
            say("found the machines of a lab whose folder is gone; removing them")
            self._destroy()
        half = self._half_booted()
        if half and self._owner().path == self.home.path:
            # Vagrant would take them for whole ones and leave them so.
            say(f"found machines whose boot was cut off ({', '.join(half)}); removing all")
            self._destroy()
        self.prepare(say)
        if all(self.provider.exists(node) for node in regular):
            for node in regular:
                self._switch_on(node)
        else:
            say("  booting the machines by Vagrant; half a minute, and the first time longer")
            self._vagrant("up", f"--provider={self.provider.name}", *regular, again=say)
        super().up(say)

    def _booted(self, node: str) -> bool:
        """Say whether `vagrant up` has come to its end for this very machine (lab/Vagrantfile notes it)."""
        file = FILES / f"booted-{node}"
        return file.exists() and file.read_text().strip() == self.provider.id(node)

    def _half_booted(self) -> list[str]:
        return [node for node in self.provider.made() if not self._booted(node)]

    def supervise(self, say: Say) -> None:
        """Start the recorder's supervisor alone, for machines that `vagrant up` boots by itself."""
        super().up(say)

    def _vagrant(self, *words: str, patience: str = "boot", again: Say | None = None) -> None:
        """Run a command of Vagrant's; with `again`, what fails while other machines stand is tried once more.

        Raises `LabError` with Vagrant's reason.
        """
        log = self.home.folder("logs") / "vagrant.log"
        reason = vagrant_command.call(FILES, self.provider.name, words, log, timeout=PATIENCE[patience])
        if reason is not None and again is not None and self.provider.made():
            again(f"  not every machine came up ({reason.rstrip('.')}); once more, for what is missing")
            if half := self._half_booted():  # Vagrant would take them for whole ones
                vagrant_command.call(
                    FILES, self.provider.name, ("destroy", "-f", *half), log, PATIENCE["destroy"]
                )
            reason = vagrant_command.call(FILES, self.provider.name, words, log, timeout=PATIENCE[patience])
        for file in FILES.glob("ssh-config-*"):
            file.unlink()  # a machine that was booted may have another address, or another port
        if reason is not None:
            raise LabError(
                f"`vagrant {words[0]}` failed: {reason.rstrip('.')} (log: {log}); "
                "`lab down --purge` cleans up."
            )

    def _switch_on(self, node: str) -> None:
        """Make a machine answer: wake it, start it when it has lost its power, make it when it is a spare."""
        self._wake(node)
        if self.provider.running(node):
            return
        self._remote.forget(node)
        if not self.provider.exists(node) or not self.provider.on(node):
            self._write_units()
            self._vagrant("up", f"--provider={self.provider.name}", node)

        def answers() -> bool:
            with contextlib.suppress(UnreachableError):
                return self._remote.run(node, "echo on") == "on\n"
            return False

        until(answers, f"An answer of the machine {node}", at_most=PATIENCE["on"], every=0.2)

    def power_off(self, node: str) -> None:
        """Cut a machine's power: silence first, then nothing.

        A container's processes are ended by a kernel that lives on and would say goodbye for them.
        """
        self._wake(node)
        if not self.provider.running(node):
            return
        self.unplug(node)
        self._remote.forget(node)
        self.provider.off(node)

    def suspend(self, node: str) -> None:
        """Freeze a machine with all that runs on it, as its host's own tools do."""
        if self.provider.running(node) and not self.provider.suspended(node):
            self._remote.forget(node)
            self.provider.suspend(node)

    def _wake(self, node: str) -> None:
        if self.provider.suspended(node):
            self.provider.wake(node)

    def _tell(self, target: Target, script: str) -> None:
        """Run what ends or signals a program; on a machine without power there is none.

        Raises `LabError` when the machine is suspended: it would hear that when it wakes, or never.
        """
        if self.provider.suspended(target.node):
            raise LabError(f"The machine {target.node} is suspended and hears nothing; `lab heal` wakes it.")
        with contextlib.suppress(UnreachableError):
            self._remote.run(target.node, script)

    def strays(self) -> list[strays.Stray]:
        """Return what a dead supervisor left behind here; what runs in a container is no stray."""
        here = Path("/proc/self/ns/pid").readlink()
        found = []
        for stray in super().strays():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{stray.pid}/ns/pid").readlink() == here:
                    found.append(stray)
        return found

    def _programs(self) -> Iterator[tuple[Target, str, Path, Path]]:
        """Leave to supervisord what runs here: the recorder."""
        return (program for program in super()._programs() if program[0] == RECORDER)

    def _refuse_taken_ports(self) -> None:
        """Nothing to refuse: the machines are new, nobody listens on them."""

    # ---- programs -----------------------------------------------------------------------

    def start(self, targets: Iterable[Target]) -> None:
        """Start programs, machine by machine side by side; a machine without power gets it first."""
        units: dict[str, list[str]] = {}
        for target in targets:
            if target == RECORDER:
                super().start([target])
                continue
            units.setdefault(target.node, []).append(guest.unit_name(target))
        if not units:
            return
        with ThreadPoolExecutor(len(units)) as pool:
            list(pool.map(lambda node: self._start_on(node, units[node]), units))
        self._write_pids(units)

    def _start_on(self, node: str, units: list[str]) -> None:
        self._switch_on(node)
        for unit in units:
            wake = f"if systemctl -q is-active {unit}; then systemctl kill -s CONT {unit}; fi"
            script = f"{wake}; systemctl start {unit}"
            try:
                self._remote.run(node, script)
            except UnreachableError:
                raise
            except LabError as error:
                program = unit.removeprefix("lab-").removesuffix(".service")
                raise LabError(
                    f"{node}:{program} does not start; see `lab logs {node}:{program}`. {error}"
                ) from None

    def _stop_one(self, target: Target) -> None:
        if target == RECORDER:
            super()._stop_one(target)
            return
        unit = guest.unit_name(target)
        # Not `systemctl stop`: that ends an agent by KILL, without a goodbye, as a halt of the machine does.
        script = (
            f"systemctl -q is-active {unit} || exit 0; systemctl kill -s TERM {unit}; "
            f"i=0; while systemctl -q is-active {unit} && [ $i -lt 300 ]; do sleep 0.05; i=$((i+1)); done; "
            f"systemctl -q is-active {unit} && systemctl kill -s KILL {unit}; exit 0"
        )
        self._tell(target, script)

    def signal(self, target: Target, signal: Signal) -> None:
        """Send a signal to a unit's processes; KILL waits until systemd has noticed."""
        if target == RECORDER:
            super().signal(target, signal)
            return
        unit = guest.unit_name(target)
        script = f"systemctl -q is-active {unit} || exit 0; systemctl kill -s {signal} {unit}"
        if signal == "KILL":
            waits = f"while systemctl -q is-active {unit} && [ $i -lt 200 ]; do sleep 0.02; i=$((i+1)); done"
            script += f"; i=0; {waits}"
        self._tell(target, script)

    def pid(self, target: Target) -> int | None:
        """Return the program's process id: this machine's own where it sees it, else the machine's."""
        if target == RECORDER:
            return super().pid(target)
        pid = self._inner_pid(target)
        if pid is None:
            return None
        return self._here(target.node, {pid}).get(pid, pid)

    def process(self, target: Target) -> Process:
        """Return what its machine's kernel knows of a running program.

        Raises `LabError` when it does not run.
        """
        if target == RECORDER:
            return super().process(target)
        pid = self._inner_pid(target)
        if pid is None:
            raise LabError(f"{target} does not run.")
        return inside.process(self._remote, target.node, pid)

    def state(self, target: Target) -> str:
        """Return `running`, `paused` or `stopped`; a machine without power runs nothing."""
        if target == RECORDER:
            return super().state(target)
        if self.provider.id(target.node) is None:
            return "stopped"
        if self.provider.suspended(target.node):
            return "paused"
        looked = inside.look(self._remote, target.node, [target.program])
        pid, letter = looked.get(target.program, (None, ""))
        if pid is None or letter in ("Z", "X", ""):
            return "stopped"
        return "paused" if letter == "T" else "running"

    def _inner_pid(self, target: Target) -> int | None:
        return self._inner_pids(target.node, [target.program]).get(target.program)

    def _inner_pids(self, node: str, programs: Iterable[str]) -> dict[str, int]:
        """Return the process ids, on their machine, of what runs on it; nothing when it does not answer."""
        if self.provider.id(node) is None or self.provider.suspended(node):
            return {}
        return {name: pid for name, (pid, _) in inside.look(self._remote, node, programs).items()}

    def _here(self, node: str, wanted: set[int]) -> dict[int, int]:
        """Return which process of this machine each of a container's is; empty for a virtual machine."""
        found = inside.here(self.provider.processes(node)) if wanted else {}
        return {inner: pid for inner, pid in found.items() if inner in wanted}

    def _write_pids(self, nodes: Iterable[str] | None = None) -> None:
        """Tell the recorder which processes of this machine the programs of some or all nodes are."""

        def of(name: str) -> dict[str, int]:
            inner = self._inner_pids(name, self.topology[name].programs)
            here = self._here(name, set(inner.values()))
            return {f"{name}:{program}": here[pid] for program, pid in inner.items() if pid in here}

        chosen = list(self.topology.nodes if nodes is None else nodes)
        file = self.home.path / "pids.json"
        with _PIDS:
            known: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
            pids = {target: pid for target, pid in known.items() if target.split(":")[0] not in chosen}
            with ThreadPoolExecutor(max(1, len(chosen))) as pool:
                for found in pool.map(of, chosen):
                    pids |= found
            write_private(file, json.dumps(pids))

    # ---- the network --------------------------------------------------------------------

    def cut(self, node: str, peers: list[str], percent: int = 100, deaf: bool = False) -> None:
        """Drop what passes between a node and some peers, or a part of it, by a table of our own there."""
        self._rule(node, rules.drop([self.topology[peer].address for peer in peers], percent, deaf))

    def unplug(self, node: str) -> None:
        """Drop everything of the lab's network, this machine's requests too; SSH comes another way."""
        self._rule(node, rules.drop([f"{self.topology.network}.0/24"]))

    def _rule(self, node: str, script: str) -> None:
        self._remote.run(node, f"nft '{script}'")

    def mend(self, node: str) -> None:
        """Wake the machine and drop our table; one without power has none."""
        if self.provider.id(node) is None:
            return
        self._wake(node)
        if not self.provider.running(node):
            return
        with contextlib.suppress(UnreachableError):
            self._remote.run(node, f"nft {rules.DELETE} 2>/dev/null; exit 0")

    # ---- the end ------------------------------------------------------------------------

    def clear(self, say: Say) -> None:
        """End every program and keep containers, whose data is on this machine; others go with theirs."""
        made = self.provider.made()
        if not isinstance(self.provider, Docker) or not all(self.provider.running(node) for node in made):
            self.down(say)
            return
        self.stop([RECORDER])
        with ThreadPoolExecutor(max(1, len(made))) as pool:
            list(pool.map(self._kill_all_on, made))

    def _kill_all_on(self, node: str) -> None:
        self._wake(node)
        for program in reversed(self.topology[node].programs):
            self.signal(Target(node, program), "KILL")

    def down(self, say: Say) -> None:
        """End the programs in order, then destroy the machines and what Vagrant knew of them."""
        super().down(say)
        for node in self.topology.nodes:
            self._remote.forget(node)
        owner = self._owner()
        if FILES.exists() and (owner.path == self.home.path or not owner.exists):
            made = self.provider.made()
            self._destroy()
            if owner.path == self.home.path and not isinstance(self.provider, Docker):
                if made:
                    say("  the data went with the machines' disks; the next lab begins from nothing")
                self.home.forget_data()  # the secrets open nothing now
        elif self.home.path in (left := Docker(FILES)).labs():  # lab/.vagrant was removed under them
            left.sweep(self.home.path, self.topology.network)

    @staticmethod
    def _booting() -> object:
        with contextlib.suppress(OSError, ValueError):
            return json.loads((FILES / BOOTING).read_text())
        return None

    def note_booting(self, pid: int) -> None:
        """Note the Vagrant that is about to boot the machines by itself: until it ends they are its own."""
        write_private(FILES / BOOTING, json.dumps(owners.of(pid)))

    def _owner(self) -> Home:
        """Return the home of the lab that the machines belong to."""
        return Home(Path(self._shared().get("home", self.home.path)))

    def _destroy(self) -> None:
        """Destroy the machines, whoever made them; raises `LabError` when their provider does not answer."""
        if owners.lives(self._booting()):
            raise LabError(
                "`vagrant up` is booting the machines in another terminal; wait for its end, or end it first."
            )
        shared = self._shared()
        made = self.provider.made()
        if made:
            self.provider.refuse_unfit()
            if shutil.which("vagrant") is None and not isinstance(self.provider, Docker):
                raise LabError(
                    f"Only Vagrant can remove its machines ({', '.join(made)}), and it is gone; install it."
                )
        with ThreadPoolExecutor(max(1, len(made))) as pool:
            list(pool.map(self._off_if_on, made))
        try:
            if made and shutil.which("vagrant"):
                # Vagrant looks at the whole file first, and the folders of a lab may be gone.
                bare = {name: value for name, value in shared.items() if name not in ("folders", "key")}
                write_private(FILES / SHARED, json.dumps(bare) + "\n")
                self._vagrant("destroy", "-f", patience="destroy")
        finally:
            self.provider.sweep(self._owner().path, shared.get("network", self.topology.network))
        shutil.rmtree(FILES)

    def _off_if_on(self, node: str) -> None:
        with contextlib.suppress(LabError):
            self._wake(node)
            if self.provider.running(node):
                self.provider.off(node)
