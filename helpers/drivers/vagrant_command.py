"""Vagrant's own command, and the reason it gives when it fails."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from helpers.drivers.providers import run
from helpers.drivers.remote import UnreachableError
from helpers.home import write_private
from helpers.topology import LAB_DATA


def _environment(files: Path) -> list[str]:
    return ["env", f"VAGRANT_CWD={LAB_DATA}", f"VAGRANT_DOTFILE_PATH={files}", "LAB_PREPARED=yes"]


def call(files: Path, provider: str, words: Sequence[str], log: Path, timeout: float) -> str | None:
    """Run `vagrant WORDS` on lab/Vagrantfile, keep all it says in `log`, and return why it failed, if it did.

    `files` is Vagrant's folder of what it knows, `timeout` in seconds.
    """
    settings = {
        "VAGRANT_DEFAULT_PROVIDER": provider,
        "VAGRANT_CHECKPOINT_DISABLE": "1",  # no question to its makers about newer versions
        "LAB_BY_DRIVER": "yes",
    }
    extra = [f"{name}={value}" for name, value in settings.items()]
    done = run(*_environment(files), *extra, "vagrant", *words, timeout=timeout)
    with log.open("a") as file:
        file.write(f"== vagrant {' '.join(words)}\n{done.stdout}{done.stderr}")
    return why(done.stderr) if done.returncode else None


def write_ssh_config(files: Path, node: str, file: Path) -> None:
    """Write ssh's options for a virtual machine, as Vagrant gives them.

    Raises `UnreachableError` when it gives none: ssh would look for a machine of that name elsewhere.
    """
    done = run(*_environment(files), "vagrant", "ssh-config", node, timeout=120)
    if done.returncode or f"Host {node}\n" not in done.stdout:
        raise UnreachableError(f"Vagrant knows no way to {node}: {why(done.stderr)}")
    write_private(file, done.stdout)


def why(stderr: str) -> str:
    """Return the reason that Vagrant gives, in one line.

    When machines failed side by side it comes last, after a preface per machine that says there was an error;
    what Docker or VirtualBox said is a paragraph of its own, and libvirt's words come after an announcement.
    """
    paragraphs = [" ".join(part.split()) for part in stderr.split("\n\n") if part.strip()]
    machine = ""
    for at, part in enumerate(paragraphs):
        if preface := re.search(r"executing the action on the '(\w+)' machine\.", part):
            machine, paragraphs = f"{preface[1]}: ", paragraphs[at + 1 :]
            break
    told = [part for part in paragraphs if part.startswith("Stderr: ")]
    # A paragraph that only announces the reason is none.
    reasons = told or [part for part in paragraphs if not re.search(r"\bbelow[.:]$", part)] or paragraphs
    return machine + next(iter(reasons), "no reason given")
