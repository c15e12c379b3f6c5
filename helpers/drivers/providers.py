"""What Vagrant's providers are asked directly: is a machine there, switch it off, switch it on.

`vagrant halt` takes 5 s and lets every program say goodbye, so it is no power cut. A machine's id lies where
Vagrant keeps it: `.vagrant/machines/NODE/PROVIDER/id`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from helpers.errors import LabError

FAREWELL = 60.0  # seconds; Vagrant ends the step that it is at, which may be a machine's boot


def run(*command: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run a command whose failure the caller looks at; one that is not installed fails with code 127.

    A Ctrl-C is the command's as well as this process's: it has `FAREWELL` seconds to clean up behind itself,
    unless there is a second one.
    """
    try:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"LC_ALL": "C"},
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]} is not installed")
    with process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            return subprocess.CompletedProcess(command, 124, "", f"no answer within {timeout:g} s")
        except KeyboardInterrupt:
            try:
                process.communicate(timeout=FAREWELL)
            finally:
                process.kill()  # which does nothing to one that has ended
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _said(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip().splitlines() or done.stdout.strip().splitlines() or ["no reason given"])[-1]


@dataclass
class Provider:
    """One of Vagrant's providers; `files` is the folder in which Vagrant keeps what it knows."""

    files: Path

    name: ClassVar[str]
    program: ClassVar[str]
    words: ClassVar[str]
    #: How the links are called that it keeps for the next machines when the last ones are gone.
    keeps: ClassVar[str | None] = None

    def usable(self) -> bool:
        """Say whether this machine has it."""
        return shutil.which(self.program) is not None

    def refuse_unfit(self) -> None:
        """Raise `LabError` when it cannot be used, with the remedy."""
        if not self.usable():
            raise LabError(
                f"`{self.program}` is missing, so Vagrant's {self.name} cannot be used: {self.words}."
            )

    def id(self, node: str) -> str | None:
        """Return a machine's id, or None when it was never made."""
        try:
            return (self.files / "machines" / node / self.name / "id").read_text().strip() or None
        except FileNotFoundError:
            return None

    def exists(self, node: str) -> bool:
        """Say whether a machine is there, on or off; somebody may have removed it behind Vagrant's back."""
        return self.id(node) is not None

    def made(self) -> list[str]:
        """Return the nodes that have a machine."""
        return sorted(file.parents[1].name for file in self.files.glob(f"machines/*/{self.name}/id"))

    def _ask(self, *command: str) -> str:
        done = run(*command)
        if done.returncode:
            raise LabError(f"`{' '.join(command[:2])}` failed: {_said(done)}.")
        return done.stdout.strip()

    def running(self, node: str) -> bool:
        """Say whether a machine is on."""
        raise NotImplementedError

    def off(self, node: str) -> None:
        """Cut a machine's power."""
        raise NotImplementedError

    def on(self, node: str) -> bool:
        """Switch a machine on, and say whether that was all: a virtual machine wants `vagrant up`."""
        return False

    def suspended(self, node: str) -> bool:
        """Say whether a machine is frozen."""
        raise NotImplementedError

    def suspend(self, node: str) -> None:
        """Freeze a machine; its memory stays, and connections to it stay open."""
        raise NotImplementedError

    def wake(self, node: str) -> None:
        """Let a frozen machine go on."""
        raise NotImplementedError

    def ssh(self, node: str) -> list[str]:
        """Return ssh's options for a machine; those of virtual machines are Vagrant's own."""
        return ["-F", str(self.ssh_config(node))]

    def ssh_config(self, node: str) -> Path:
        """Return the file of a virtual machine's ssh options, which Vagrant is asked for after each boot."""
        return self.files / f"ssh-config-{node}"

    def processes(self, node: str) -> list[int]:
        """Return the ids of a machine's processes as seen from outside of it, if anybody can tell."""
        return []

    def labs(self) -> set[Path]:
        """Return the homes of the labs, of whatever checkout, that have machines of this provider here."""
        return set()

    def sweep(self, home: Path, network: str) -> None:
        """Remove what `vagrant destroy` may have left of the lab in `home`."""


class Docker(Provider):
    """Containers with systemd: they share this machine's kernel and clock."""

    name = "docker"
    program = "docker"
    words = "install Docker, or choose another by VAGRANT_DEFAULT_PROVIDER"
    #: The programs that are called, and Debian's packages; debootstrap makes the machines' image.
    tools: ClassVar[tuple[tuple[str, str], ...]] = (("docker", "docker.io"), ("debootstrap", "debootstrap"))

    def usable(self) -> bool:
        """Say whether a Docker daemon answers."""
        return run("docker", "version", "--format", "{{.Server.Version}}", timeout=10).returncode == 0

    def refuse_unfit(self) -> None:
        """Raise `LabError` when no daemon answers."""
        if shutil.which("docker") is None:
            super().refuse_unfit()
        if not self.usable():
            raise LabError(
                "The Docker daemon does not answer; start it (`systemctl start docker`) and try again."
            )

    def exists(self, node: str) -> bool:
        """Say whether a container is there, on or off."""
        return (found := self.id(node)) is not None and run("docker", "inspect", found).returncode == 0

    def _is(self, node: str, state: str) -> bool:
        done = run("docker", "inspect", "-f", f"{{{{.State.{state}}}}}", self.id(node) or "none")
        return done.stdout.strip() == "true"

    def running(self, node: str) -> bool:
        """Say whether a container runs; a frozen one does."""
        return self._is(node, "Running")

    def off(self, node: str) -> None:
        """Kill the container: its processes and its end of the cable vanish."""
        self._ask("docker", "kill", self.id(node) or node)

    def on(self, node: str) -> bool:
        """Start the container; half a second."""
        self._ask("docker", "start", self.id(node) or node)
        return True

    def suspended(self, node: str) -> bool:
        """Say whether a container is frozen."""
        return self._is(node, "Paused")

    def suspend(self, node: str) -> None:
        """Freeze the container by its cgroup; the clocks that it reads go on."""
        self._ask("docker", "pause", self.id(node) or node)

    def wake(self, node: str) -> None:
        """Thaw the container."""
        self._ask("docker", "unpause", self.id(node) or node)

    def ssh(self, node: str) -> list[str]:
        """Return the options for the container's address on Docker's own bridge, which no fault touches."""
        # The older `.NetworkSettings.IPAddress` is gone from Docker 29 on.
        field = '{{with index .NetworkSettings.Networks "bridge"}}{{.IPAddress}}{{end}}'
        address = self._ask("docker", "inspect", "-f", field, self.id(node) or node)
        if not address:
            raise LabError(f"The container of {node} is off.")
        settings = {
            "HostName": address,
            "User": "vagrant",
            "IdentityFile": str(self.key()),
            "IdentitiesOnly": "yes",
            # A container is made anew with each lab, and so is nothing that one could know by its key.
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
        }
        return ["-F", "none", *(word for k, v in settings.items() for word in ("-o", f"{k}={v}"))]

    def processes(self, node: str) -> list[int]:
        """Return the container's processes as the daemon's machine counts them: this one, as a rule."""
        listed = run("docker", "top", self.id(node) or "none", "-eo", "pid").stdout.split()
        return [int(word) for word in listed if word.isdigit()]

    def api(self) -> str | None:
        """Return the version of Docker's API that Vagrant must ask for, None for the client's own.

        From 1.52 on a container has no `NetworkSettings.IPAddress` any more, where Vagrant looks for it; a
        client that asks for an older version is still told (Docker 29; hashicorp/vagrant#13755).
        """
        said = run("docker", "version", "--format", "{{.Client.APIVersion}}", timeout=10).stdout.strip()
        numbers = tuple(int(part) for part in said.split(".") if part.isdigit())
        return "1.51" if numbers >= (1, 52) else None

    def labs(self) -> set[Path]:
        """Return the homes that the containers' labels name."""
        shown = '{{.Label "twelve-factor-lab"}}'
        told = run("docker", "ps", "-a", "--filter", "label=twelve-factor-lab", "--format", shown)
        return {Path(line) for line in told.stdout.splitlines() if line}

    def sweep(self, home: Path, network: str) -> None:
        """Remove containers that bear the lab's label, and the network that Vagrant made for them."""
        listed = run("docker", "ps", "-aq", "--filter", f"label=twelve-factor-lab={home}").stdout.split()
        if listed:
            run("docker", "rm", "-f", *listed)
        run("docker", "network", "rm", f"vagrant_network_{network}.0/24")

    @staticmethod
    def key() -> Path:
        """Return the key that opens the lab's containers, made once per user."""
        from helpers import cache

        folder = cache.root() / "vagrant"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = folder / "key"
        if not (file.exists() and file.with_suffix(".pub").exists()):
            file.unlink(missing_ok=True)  # of a run that was ended between the two
            done = run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(file))
            if done.returncode:
                raise LabError(f"No key for the lab's machines could be made: {_said(done)}.")
        return file


class Libvirt(Provider):
    """Virtual machines of libvirt (KVM)."""

    name = "libvirt"
    program = "virsh"
    words = "install libvirt and the plugin vagrant-libvirt"
    keeps = "virbr"

    def _virsh(self, *words: str) -> str:
        return self._ask("virsh", "-c", os.environ.get("LIBVIRT_DEFAULT_URI", "qemu:///system"), *words)

    def _is(self, node: str, state: str) -> bool:
        found = self.id(node)
        with contextlib.suppress(LabError):  # a domain that somebody removed behind Vagrant's back
            return found is not None and self._virsh("domstate", found) == state
        return False

    def running(self, node: str) -> bool:
        """Say whether the domain runs."""
        return self._is(node, "running")

    def off(self, node: str) -> None:
        """Destroy the domain, which in libvirt's words is a power cut and nothing more."""
        self._virsh("destroy", self.id(node) or node)

    def suspended(self, node: str) -> bool:
        """Say whether the domain is paused."""
        return self._is(node, "paused")

    def suspend(self, node: str) -> None:
        """Suspend the domain, which in libvirt's words keeps it in memory."""
        self._virsh("suspend", self.id(node) or node)

    def wake(self, node: str) -> None:
        """Resume the domain."""
        self._virsh("resume", self.id(node) or node)


class VirtualBox(Provider):
    """Virtual machines of VirtualBox."""

    name = "virtualbox"
    program = "VBoxManage"
    words = "install VirtualBox"
    keeps = "vboxnet"

    def _is(self, node: str, state: str) -> bool:
        found = self.id(node)
        if found is None:
            return False
        with contextlib.suppress(LabError):  # a machine that somebody removed behind Vagrant's back
            return f'VMState="{state}"' in self._ask("VBoxManage", "showvminfo", found, "--machinereadable")
        return False

    def running(self, node: str) -> bool:
        """Say whether the machine runs."""
        return self._is(node, "running")

    def off(self, node: str) -> None:
        """Cut its power."""
        self._ask("VBoxManage", "controlvm", self.id(node) or node, "poweroff")

    def suspended(self, node: str) -> bool:
        """Say whether the machine is paused."""
        return self._is(node, "paused")

    def suspend(self, node: str) -> None:
        """Pause it; `savestate` would write its memory to the disk and close its connections."""
        self._ask("VBoxManage", "controlvm", self.id(node) or node, "pause")

    def wake(self, node: str) -> None:
        """Resume it."""
        self._ask("VBoxManage", "controlvm", self.id(node) or node, "resume")


PROVIDERS: dict[str, type[Provider]] = {kind.name: kind for kind in (VirtualBox, Libvirt, Docker)}


def choose(files: Path, wanted: str | None) -> Provider:
    """Return the provider called `wanted`, or the first that this machine has: containers come last.

    Raises `LabError` for an unknown one, or when there is none.
    """
    if wanted is not None:
        if wanted not in PROVIDERS:
            raise LabError(f"VAGRANT_DEFAULT_PROVIDER is {wanted!r}; the lab knows {', '.join(PROVIDERS)}.")
        return PROVIDERS[wanted](files)
    for kind in PROVIDERS.values():
        if (provider := kind(files)).usable():
            return provider
    raise LabError(
        "Vagrant has nothing to run machines with here: no VirtualBox, no libvirt, and no Docker daemon that "
        "answers; install or start one of them, or use the local driver (unset LAB_DRIVER)."
    )
