"""Every command and state as a reader types them: exit codes, sentences, tables, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from lab_command import Other, Result, begin, finish, lab_program, sentence

from helpers import faults
from helpers.home import Home
from helpers.lab import Lab
from helpers.states import STATES
from helpers.waiting import until

Command = Callable[..., Result]
COMMANDS = [
    *("doctor", "up", "init", "unseal", "configure", "deploy", "status", "inject", "heal"),
    *("stop", "start", "kill", "pause", "resume", "logs", "env", "down"),
]

# ---- words ------------------------------------------------------------------------------------


def test_every_command_explains_itself() -> None:
    done = subprocess.run([lab_program(), "--help"], capture_output=True, text=True, timeout=30, check=True)
    for name in COMMANDS:
        assert f" {name} " in done.stdout, f"`lab --help` does not know {name}"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command(quick: Command, name: str) -> None:
    result = quick(name, "--help")
    assert result.code == 0
    assert f"Usage: lab {name}" in result.out


def test_the_real_program_is_no_different(command: Command) -> None:
    """The refusals above run inside of this process; one of each kind as a reader's shell runs it."""
    assert "no node 'todo9'" in sentence(command("stop", "todo9"))
    assert command("frobnicate").code == 2


@pytest.mark.parametrize(
    "words",
    [
        ["frobnicate"],
        ["stop"],
        ["inject", "kill"],
        ["start", "todo0", "todo1"],
        ["up", "--nope"],
        ["logs", "todo0", "-n", "0"],
        ["init", "--shares", "many"],
        ["init", "--shares", "0"],
        *(["inject", "kill", "todo0", "--for", seconds] for seconds in ("-1", "nan", "inf", "1e10")),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(quick: Command, words: list[str]) -> None:
    result = quick(*words)
    assert result.code == 2
    assert "Usage: lab" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stop", "todo9"], "no node 'todo9'; the nodes are consul, vault0,"),
        (["kill", "todo0:vault"], "todo0 does not run 'vault'; it runs agent and todo"),
        (["pause", ""], "no node ''"),
        (["logs", "nope"], "no node 'nope'"),
        (["start", "todo0:"], "todo0 does not run ''"),
        (["up", "heaven"], "no state 'heaven'; the states are down, nodes, initialized"),
        (["unseal", "todo0"], "todo0 runs no Vault; unseal vault0 or vault1"),
        (["unseal", "vault7"], "no node 'vault7'"),
        (["deploy", "mysql"], "mysql runs no todo; deploy to todo0, todo1, todo2"),
        (["deploy", "todo7"], "no node 'todo7'"),
        (["inject", "haunt", "todo0"], "no fault 'haunt'; the faults are stop, kill, pause"),
        (["inject", "kill", "todo7"], "no node 'todo7'"),
        (["inject", "seal", "mysql"], "seal needs vault, and mysql:mariadb is not one"),
        (["inject", "partition", "todo0"], "needs nodes with a network of their own"),
        (["inject", "slow", "todo0"], "slow needs packets that can be delayed (netem"),
        (["resume", "todo2"], "todo2:todo does not run; `lab start todo2:todo` starts it"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_one_sentence(lab: Lab, quick: Command, words: list[str], said: str) -> None:
    assert said in sentence(quick(*words))
    assert lab.state == "deployed", "a refused command changed the lab"


# ---- tables and lines -------------------------------------------------------------------------


def test_status(lab: Lab, command: Command) -> None:
    result = command("status")
    assert result.code == 0
    for word in ("vault0", "vault1", "todo0", "todo1", "unsealed", "passing", "leader", "OK"):
        assert word in result.out
    assert "vault functions: vault0 leads." in result.out or "vault1 leads." in result.out
    assert "\x1b" not in result.out, "colours in a pipe"


def test_status_as_json(lab: Lab, command: Command) -> None:
    result = command("status", "--json")
    assert result.code == 0
    found = json.loads(result.out)
    assert [row["node"] for row in found["vault"]] == ["vault0", "vault1"]
    assert sorted(row["leader"] for row in found["vault"]) == ["", "leader"]
    assert [(row["health"], row["test"]) for row in found["todo"]] == [("passing", "OK")] * 2
    assert found["ok"] is True


def test_status_of_a_service_that_is_gone_is_1(lab: Lab, command: Command) -> None:
    assert command("stop", "todo0").code == 0
    half = command("status", "--json")
    assert half.code == 0, "one healthy instance is enough"
    assert json.loads(half.out)["todo"][0]["test"] != "OK"
    assert command("stop", "todo1").code == 0
    gone = command("status")
    assert gone.code == 1
    assert "todo does not function: no healthy instance is left." in gone.out
    assert gone.err == ""


def test_doctor_as_json() -> None:
    done = subprocess.run(
        [lab_program(), "doctor", "--json"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)


def test_status_watch_refreshes_and_ends_at_ctrl_c(lab: Lab) -> None:
    process = begin("status", "--watch", home=lab.home.path)
    try:
        assert process.stdout is not None
        # Not a terminal: the table comes once, at the end. That it lives on is what can be seen.
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=2.5)
    finally:
        os.killpg(process.pid, signal.SIGINT)
    result = finish(process, at_most=5)
    assert result.code == 0
    assert "Traceback" not in result.err
    assert "vault0" in result.out


def test_env_lines_work_in_a_shell(lab: Lab, command: Command) -> None:
    lines = command("env").out
    script = f'{lines}\nprintf "%s|%s|%s|%s" "$CONSUL_HTTP_ADDR" "$VAULT_ADDR" "$VAULT_TOKEN" "$TODO_URLS"'
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=10, check=True)
    consul, vault, token, todos = done.stdout.split("|")
    assert requests.get(f"{consul}/v1/status/leader", timeout=5).json()
    looked_up = requests.get(
        f"{vault}/v1/auth/token/lookup-self", headers={"X-Vault-Token": token}, timeout=5
    )
    assert "operator" in looked_up.json()["data"]["policies"]
    assert "root" not in looked_up.json()["data"]["policies"]
    assert [requests.get(f"{url}/todo", timeout=5).status_code for url in todos.split()] == [200, 200]


def test_env_does_not_disturb_the_lab_itself(lab: Lab, command: Command) -> None:
    """CONSUL_HTTP_ADDR with a scheme, as `lab env` prints it, breaks python-consul as released."""
    result = command(
        "status", CONSUL_HTTP_ADDR="http://127.0.0.1:1", VAULT_ADDR="http://127.0.0.1:1", VAULT_TOKEN="no"
    )
    assert result.code == 0, result.err


# ---- logs -------------------------------------------------------------------------------------


def test_logs_are_the_programs_own_lines(lab: Lab, command: Command) -> None:
    todo = command("logs", "todo0", "-n", "5").out.splitlines()
    assert len(todo) == 5
    assert {json.loads(line)["instance"] for line in todo} == {"todo0"}
    assert "Consul agent" in command("logs", "todo0:agent", "-n", "100000").out


def test_logs_follow_until_ctrl_c(lab: Lab) -> None:
    process = begin("logs", "todo0", "-f", "-n", "1", home=lab.home.path)
    mark = f"/todo/{10**9 + os.getpid()}"
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it has begun to read
        url = f"http://{lab.topology['todo0'].address}:{lab.topology.ports['todo']}{mark}"
        assert requests.get(url, timeout=5).status_code == 404
        until(lambda: any(mark in line for line in lab.logs("todo0", 50)), "The line in the log", 5)
        time.sleep(0.5)  # twice the command's own pause between two reads
    finally:
        os.killpg(process.pid, signal.SIGINT)
    result = finish(process, at_most=5)
    assert result.code == 0
    assert mark in result.out
    assert "Traceback" not in result.err


# ---- verbs ------------------------------------------------------------------------------------


def test_pause_resume_kill_start(lab: Lab, command: Command) -> None:
    target = lab.topology.target("todo1")
    assert command("pause", "todo1").code == 0
    assert lab.driver.state(target) == "paused"
    assert command("resume", "todo1").code == 0
    assert lab.driver.state(target) == "running"
    assert command("kill", "todo1").code == 0
    assert lab.driver.state(target) == "stopped"
    assert "todo1:todo does not run; `lab start todo1:todo` starts it." in sentence(command("kill", "todo1"))
    begun = command("start", "todo1")
    assert begun.code == 0
    assert "todo1 passing in Consul" in begun.out
    assert lab.state == "deployed"


def test_roles_are_found_at_that_moment(lab: Lab, command: Command) -> None:
    leader = lab.resolve("vault.leader")[0]
    assert command("pause", "vault.standby").code == 0
    standby = next(node.name for node in lab.topology.of("vault") if node.name != leader.node)
    assert lab.driver.state(lab.topology.target(standby)) == "paused"
    assert lab.driver.state(leader) == "running"
    assert "No Vault stands by at the moment" in sentence(command("pause", "vault.standby"))


def test_inject_for_some_seconds_heals_by_itself(lab: Lab, command: Command) -> None:
    begun = time.monotonic()
    result = command("inject", "pause", "todo0", "--for", "1")
    assert result.code == 0, result.err
    assert time.monotonic() - begun >= 1
    assert "todo0: paused" in result.out
    assert lab.state == "deployed"


@pytest.mark.parametrize("target", ["mysql", "vault.leader", "todo0"])
def test_maintenance_is_no_healthy_lab_and_is_healed(lab: Lab, command: Command, target: str) -> None:
    node = lab.topology.target(target).node if "." not in target else lab.resolve(target)[0].node
    assert command("inject", "maintenance", target).code == 0
    until(lambda: faults.in_maintenance(lab), "The maintenance", 5)
    assert {name for name, _ in faults.in_maintenance(lab)} == {node}
    assert lab.state != "deployed"
    assert command("heal").code == 0
    assert faults.in_maintenance(lab) == []
    assert lab.state == "deployed"


def test_inject_waits_for_heal(lab: Lab, command: Command) -> None:
    assert command("inject", "kill", "todo0").code == 0
    assert lab.state != "deployed"
    assert command("heal").code == 0
    assert lab.state == "deployed"


def test_a_spare_is_deployed_on_request(lab: Lab, command: Command) -> None:
    assert "todo2" not in command("status", "--json").out
    assert command("deploy", "todo2").code == 0
    rows = json.loads(command("status", "--json").out)["todo"]
    assert [(row["node"], row["test"]) for row in rows] == [("todo0", "OK"), ("todo1", "OK"), ("todo2", "OK")]


def test_repeating_a_command_changes_nothing(lab: Lab, command: Command) -> None:
    before = {t: lab.driver.pid(t) for t in lab.topology.programs()}
    for words in (["up"], ["init"], ["unseal"], ["configure"], ["heal"]):
        assert command(*words).code == 0, words
    assert {t: lab.driver.pid(t) for t in lab.topology.programs()} == before
    assert lab.state == "deployed"


# ---- no lab -----------------------------------------------------------------------------------


def test_no_lab_is_running(other: Other, quick: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Home, "locate", lambda: other.home)
    for words in (["init"], ["unseal"], ["configure"], ["deploy"], ["status"], ["env"], ["stop", "todo0"]):
        assert sentence(quick(*words)) == "No lab is running; `lab up` starts one.", words
    assert "no lab to heal" in sentence(quick("heal"))
    assert "has not run yet" in sentence(quick("logs", "vault0"))
    assert "No lab is running" in sentence(quick("inject", "kill", "todo0"))
    assert not other.processes()


# ---- the ladder, a rung at a time -------------------------------------------------------------


def test_the_ladder_by_hand(other: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    """`init`, `unseal`, `configure`, `deploy`: each refuses to come before its turn, in one sentence."""
    assert other.run("up", "nodes").code == 0
    lab = other.open(monkeypatch)
    assert lab.state == "nodes"
    assert "no unseal keys here; run `lab init` first" in sentence(other.run("unseal"))
    for name in ("configure", "deploy", "env"):
        needed = "unsealed" if name == "configure" else "configured"
        said = f"The lab is in state nodes, and this needs {needed}; run `lab up {needed}`."
        assert sentence(other.run(name)) == said
    unborn = other.run("status")
    assert unborn.code == 1
    assert "not initialized" in unborn.out

    assert "a threshold of 1 cannot be" in sentence(other.run("init", "--shares", "3", "--threshold", "1"))
    assert other.run("init", "--shares", "3", "--threshold", "2").code == 0
    assert "initialized already" in sentence(other.run("init", "--shares", "5", "--threshold", "3"))
    assert "nothing was done" in other.run("init").out
    assert lab.state == "initialized"
    sealed = f"The lab is in state initialized, and this needs {'unsealed'}; run `lab up unsealed`."
    assert sentence(other.run("configure")) == sealed
    assert "is in state initialized" in sentence(other.run("deploy"))

    assert other.run("unseal", "vault1").code == 0
    assert lab.state == "initialized", "one of two is not enough"
    assert lab.resolve("vault.leader")[0].node == "vault1"
    assert other.run("unseal").code == 0
    assert lab.state == "unsealed"
    assert "is in state unsealed" in sentence(other.run("deploy"))

    assert other.run("configure").code == 0
    assert lab.state == "configured"
    assert other.run("env").code == 0
    none = other.run("status", "--json")
    assert none.code == 1
    assert [row["health"] for row in json.loads(none.out)["todo"]] == ["not registered"] * 2

    assert other.run("deploy").code == 0
    assert lab.state == "deployed"


def test_unseal_without_the_keys(lab: Lab, command: Command) -> None:
    """The keys' file is away, as after a move to another machine: one sentence, and nothing is lost."""
    keys = lab.home.path / "secrets" / "unseal-keys.json"
    away = keys.with_suffix(".away")
    keys.rename(away)
    try:
        assert "no unseal keys here" in sentence(command("unseal"))
        assert "its unseal keys are not in" in sentence(command("init"))
    finally:
        away.rename(keys)


@pytest.mark.parametrize("name", ["configure", "deploy"])
def test_a_sealed_vault_refuses_work(lab: Lab, command: Command, name: str) -> None:
    for node in lab.topology.of("vault"):
        if lab.vault(node.name, "").sys.read_health_status(method="GET") is not None:
            lab.driver.stop([lab.topology.target(node.name)])
            lab.driver.start([lab.topology.target(node.name)])
    until(lambda: lab.vault("vault0", "").sys.is_sealed(), "An answer of the restarted Vault", 10)
    said = sentence(command(name))
    assert said.startswith("The lab is in state initialized, and this needs")


# ---- the folder -------------------------------------------------------------------------------


def test_home_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for words in (["up"], ["status"], ["down", "--purge"]):
        assert "which is a file; name a folder instead" in sentence(finish(begin(*words, home=file)))
    assert file.read_text() == "mine"


def test_home_holds_somebody_elses_files(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    for words in (["up"], ["status"], ["down", "--purge"]):
        assert "holds files that are not a lab's" in sentence(finish(begin(*words, home=tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_home_cannot_be_written(tmp_path: Path) -> None:
    """A path below /proc, where nobody can make a folder: not even root, whom permissions do not stop."""
    where = Path("/proc/lab")
    if not Path("/proc").is_dir():
        where = tmp_path / "locked" / "lab"
        where.parent.mkdir(mode=0o500)
    for words in (["up"], ["status"]):
        assert "cannot be written" in sentence(finish(begin(*words, home=where)))


def test_home_with_a_damaged_marker(tmp_path: Path) -> None:
    (tmp_path / "lab.json").write_text('{"driver": "lo')
    assert "cannot be read" in sentence(finish(begin("status", home=tmp_path)))


def test_a_command_that_only_looks_leaves_no_lab(tmp_path: Path) -> None:
    """`lab down` without a lab is done, and a second time as well."""
    home = tmp_path / "lab"
    for _ in range(2):
        assert finish(begin("down", "--purge", home=home)).code == 0
        assert not home.exists()


def test_states_are_those_of_the_help() -> None:
    done = subprocess.run(
        [lab_program(), "up", "--help"], capture_output=True, text=True, timeout=30, check=True
    )
    assert all(state in done.stdout for state in STATES)
