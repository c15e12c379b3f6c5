"""Vagrant's own command, and the reason it gives when it fails."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from helpers.drivers.providers import run
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


def write_ssh_config(files: Path) -> None:
    """Write ssh's options for the virtual machines, as Vagrant gives them."""
    done = run(*_environment(files), "vagrant", "ssh-config", timeout=120)
    write_private(files / "ssh-config", done.stdout)


def why(stderr: str) -> str:
    """Return the reason that Vagrant gives, in one line.

    When machines failed side by side it comes last, after a preface per machine that says there was an error;
    what Docker said is a paragraph of its own.
    """
    paragraphs = [" ".join(part.split()) for part in stderr.split("\n\n") if part.strip()]
    for at, part in enumerate(paragraphs):
        if preface := re.search(r"executing the action on the '(\w+)' machine\.", part):
            reasons = paragraphs[at + 1 :]
            docker = [part for part in reasons if part.startswith("Stderr: ")]
            return f"{preface[1]}: {next(iter(docker or reasons), 'no reason given')}"
    return next(iter(paragraphs), "no reason given")
