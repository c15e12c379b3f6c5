"""What the `vagrant` driver gives a machine: a container's image, Consul and Vault, systemd units."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from helpers.drivers import Say, guest_python
from helpers.drivers.providers import Docker, run
from helpers.errors import LabError
from helpers.home import Home, write_private
from helpers.programs import find
from helpers.render import render
from helpers.topology import LAB_DATA, REPOSITORY, Target, Topology

BUILD = 1800.0  # seconds; an image is made of some hundred packages


def programs(home: Home) -> Path:
    """Return a folder with Consul and Vault alone: /usr/bin, say, is nothing to share."""
    folder = home.folder("programs")
    for name in ("consul", "vault"):
        source, place = find(name).path.resolve(), folder / name
        if place.exists() and place.stat().st_size == source.stat().st_size:
            continue
        place.unlink(missing_ok=True)
        try:
            place.hardlink_to(source)
        except OSError:  # another disk
            shutil.copy2(source, place)
    return folder


def image(home: Home, say: Say) -> str:
    """Return the name of the containers' image, building it when this recipe's is not there yet.

    Raises `LabError` when it cannot be built here; the log is the lab's `image.log`.
    """
    recipe = [LAB_DATA / "docker" / "Dockerfile", LAB_DATA / "docker" / "image.sh"]
    key = Docker.key().with_suffix(".pub")
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in [*recipe, key])).hexdigest()
    name = f"lab-node:{digest[:12]}"
    if run("docker", "image", "inspect", name).returncode == 0:
        return name
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise LabError(
            "The image of the machines is not built yet, which takes root and debootstrap; run as root "
            f"`apt-get install debootstrap; lab/docker/image.sh {name} {key}`."
        )
    say("  building the image of the machines, once: about two minutes")
    done = run(str(recipe[1]), name, str(key), timeout=BUILD)
    log = home.folder("logs") / "image.log"
    log.write_text(done.stdout + done.stderr)
    if done.returncode:
        reason = ((done.stderr or done.stdout).strip().splitlines() or ["no reason given"])[-1]
        raise LabError(f"The image of the machines could not be built: {reason} (log: {log}).")
    return name


def unit_name(target: Target) -> str:
    """Return the name of a program's systemd unit."""
    return f"lab-{target.program}.service"


def write_units(home: Home, topology: Topology, *, containers: bool) -> None:
    """Write all programs' units; they go with a cluster's data, and a machine's boot copies them."""
    for target in topology.programs():
        write_unit(home, topology, target, guest_python.folder(), containers=containers)


def write_unit(home: Home, topology: Topology, target: Target, packages: Path, *, containers: bool) -> None:
    """Write one program's unit; `packages` is the folder of what todo imports."""
    folder = home.node_folder(target.node, target.program)
    shared = home.path / "programs"
    environment: dict[str, str] = {}
    words: list[str | Path]
    match target.program:
        case "agent":
            words = [shared / "consul", "agent", f"-config-file={folder / 'agent.hcl'}"]
        case "vault":
            words = [shared / "vault", "server", f"-config={folder / 'vault.hcl'}"]
        case "mariadb":
            # The messages of the machine's own server, wherever this host's are.
            words = ["/usr/sbin/mariadbd", f"--defaults-file={folder / 'server.cnf'}"]
            words += ["--lc-messages-dir=/usr/share/mysql"]
        case _:
            words = ["/usr/bin/python3", "-m", "todo"]
            environment["PYTHONPATH"] = f"{REPOSITORY}:{packages}"
    log = home.log(target.node, target.program)
    log.touch(mode=0o600)  # this user's: systemd would make it root's
    text = render(
        "provision/program.service.j2",
        topology,
        target=target,
        command=" ".join(_word(word) for word in words),
        folder=str(folder).replace("%", "%%"),
        runtime=_word(home.runtime),
        environment={name: value.replace("%", "%%") for name, value in environment.items()},
        environment_file=str(folder / "todo.env").replace("%", "%%") if target.program == "todo" else "",
        # What a container writes is this user's; what a virtual machine shares is so by itself.
        user=os.getuid() if containers else 0,
        group=os.getgid(),
        log=str(log).replace("%", "%%"),
    )
    write_private(home.node_folder(target.node, "units") / unit_name(target), text)


def _word(text: str | Path) -> str:
    """Quote a word of systemd's ExecStart."""
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'
