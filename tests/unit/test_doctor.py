"""What `lab doctor` finds, with its remedy, and what its `--fix` does."""

from __future__ import annotations

import errno
import io
import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from helpers import bootstrap, doctor, install, programs
from helpers.doctor import Finding
from helpers.errors import LabError

LOCK = """\
here==1.0 \\
    --hash=sha256:00
    # via something
elsewhere==2.0 ; sys_platform == 'plan9' \\
    --hash=sha256:00
both==3.0 ; python_full_version >= '3.8' \\
    --hash=sha256:00
"""


def finding(subject: str) -> Finding:
    return next(found for found in doctor.diagnose() if found.subject == subject)


def test_this_machine_has_everything() -> None:
    assert [found for found in doctor.diagnose() if not found.ok] == []


@pytest.mark.parametrize(
    ("driver", "provider", "wanted"),
    [
        ("", "", set()),
        ("netns", "", {"ip", "nft"}),
        ("vagrant", "", {"vagrant", "ssh", "ssh-keygen"}),
        ("vagrant", "libvirt", {"vagrant", "ssh", "ssh-keygen"}),
        ("vagrant", "docker", {"vagrant", "ssh", "ssh-keygen", "docker", "debootstrap", "dockerd"}),
    ],
)
def test_a_driver_s_programs_are_asked_for_when_it_is_chosen(
    driver: str, provider: str, wanted: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_DRIVER", driver)
    monkeypatch.setenv("VAGRANT_DEFAULT_PROVIDER", provider)
    monkeypatch.setenv("PATH", "/nowhere")
    tools = {tool for tool, _ in doctor.driver_tools()}
    assert tools == wanted
    found = [found for found in doctor.diagnose() if "driver" in found.subject]
    assert {one.subject.split("`")[1] for one in found} == wanted
    assert all((one.state, one.remedy) == ("missing", "`lab doctor --fix` installs it") for one in found)


def test_an_unknown_driver_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_DRIVER", "nothing")
    with pytest.raises(LabError, match="LAB_DRIVER is 'nothing'; the drivers are local"):
        doctor.driver_tools()


def test_a_daemon_that_answers_may_run_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = tmp_path / "docker"
    client.write_text("#!/bin/sh\nexit 0\n")
    client.chmod(0o755)
    monkeypatch.setenv("LAB_DRIVER", "vagrant")
    monkeypatch.setenv("VAGRANT_DEFAULT_PROVIDER", "docker")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "dockerd" not in dict(doctor.driver_tools())


def test_the_lock_is_read_for_this_system() -> None:
    assert doctor.locked_versions(LOCK) == {"here": "1.0", "both": "3.0"}


def test_the_real_lock_has_what_the_notebooks_import() -> None:
    locked = doctor.locked_versions(bootstrap.LOCK.read_text())
    assert {"hvac", "python-consul", "pymysql", "pandas", "matplotlib", "uv"} <= set(locked)


def test_a_missing_package_is_missing_and_another_version_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._packages({"no-such-package": "1.0"}).state == "missing"
    assert doctor._packages({"pytest": "0.0.1"}).state == "note"
    assert doctor._packages({"pytest": pytest.__version__}).state == "fine"


def test_a_missing_program_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> programs.Program:
        raise LabError(f"{name} 1.0 is missing (/bin/x is 0.9; too old); `make setup` installs it.")

    monkeypatch.setattr(programs, "find", missing)
    found = finding("Vault")
    assert (found.ok, found.program, found.remedy) == (False, "vault", "`lab doctor --fix` installs it")
    assert "vault 1.0 is missing" in found.says


@pytest.mark.parametrize("flavour", ["full", "trimmed"])
def test_doctor_says_which_vault_it_is(flavour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = programs.Program("vault", Path("/opt/vault"), "1.21.1", flavour, "source")
    monkeypatch.setattr(programs, "find", lambda name: program)
    assert finding("Vault").says == f"1.21.1, {flavour}, compiled from source"


@pytest.mark.parametrize(
    ("system", "remedy"), [("darwin", "ifconfig lo0 alias 127.20.20.10"), ("linux", "ip link")]
)
def test_addresses_that_cannot_be_used(system: str, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Nowhere(socket.socket):
        def bind(self, address: Any) -> None:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    monkeypatch.setattr(socket, "socket", Nowhere)
    monkeypatch.setattr(sys, "platform", system)
    found = finding("loopback addresses")
    assert not found.ok
    assert remedy in found.remedy


def test_a_full_disk_is_missing_and_little_memory_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10_000_000}))
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 100_000_000}))
    assert not finding("disk").ok
    assert (finding("memory").state, finding("memory").ok) == ("note", True)


def test_fix_installs_the_missing_and_goes_on_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def pretend(name: str, say: Any) -> programs.Program:
        if name == "consul":
            raise LabError("Consul cannot be had.")
        return programs.Program(name, Path("/opt") / name, "1.0", "full", "release")

    monkeypatch.setattr(install, "install", pretend)
    said: list[str] = []
    doctor.fix(
        [
            Finding("Python", "fine", "3.11"),
            Finding("Consul", "missing", "", "", "consul"),
            Finding("Vault", "missing", "", "", "vault"),
            Finding("loopback addresses", "missing", "", "sudo ifconfig"),
            Finding("memory", "note", "", "close something"),
        ],
        said.append,
    )
    assert said == [
        "Consul cannot be had.",
        "✓ vault 1.0, full, HashiCorp's release",
        "loopback addresses: sudo ifconfig",
    ]


def test_fix_does_not_touch_another_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", "/opt/conda")
    said: list[str] = []
    doctor.fix([Finding("packages", "missing", "", "make setup", "packages")], said.append)
    assert said == ["This is not the project's .venv: run `pip install -e .` here, or `make setup`."]


def test_the_table_says_it_in_words_and_the_json_is_whole() -> None:
    findings = [Finding("Consul", "missing", "none", "`lab doctor --fix` installs it", "consul")]
    console = Console(width=100, color_system=None, record=True, file=io.StringIO())
    console.print(doctor.table(findings))
    assert "✗ missing" in console.export_text()
    assert json.loads(json.dumps(findings[0].as_dict()))["state"] == "missing"
