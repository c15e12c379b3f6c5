"""No secret of the lab is where it does not belong: logs, arguments, files of others, notebooks, commits."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator

import psutil
import pytest
import requests
from lab_command import Result, tree

from helpers import networks, recording
from helpers.lab import Lab
from helpers.topology import REPOSITORY
from helpers.waiting import until

Command = Callable[..., Result]

TOKEN = re.compile(rb"\bhv[sbr]\.[A-Za-z0-9_-]{20,}")
UUID = re.compile(rb"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
# Passwords that can be recognised wherever they turn up: Vault is told to make them of these letters.
LETTERS = "QXZ"
PASSWORD = re.compile(rb"[QXZ]{40}")
PASSWORD_POLICY = f'length = 40\nrule "charset" {{ charset = "{LETTERS}" }}'
# The files whose purpose is to hold a secret, below LAB_HOME.
OWN_FILES = re.compile(
    r"^(secrets/|nodes/mysql/mariadb/init\.sql$|nodes/todo\d/todo/todo(-migrate)?\.secret$)"
)


def secrets_of(lab: Lab) -> dict[str, bytes]:
    """Return what must not be seen, by a name that may."""
    found = {}
    for file in (lab.home.path / "secrets").iterdir():
        text = file.read_text()
        if file.suffix == ".json":
            found |= {f"{file.name}[{i}]": key.encode() for i, key in enumerate(json.loads(text))}
        else:
            found[file.name] = text.encode()
    return found


@pytest.fixture
def talkative(lab: Lab) -> Iterator[Lab]:
    """A lab whose database passwords can be recognised, and which has used and logged all it can.

    todo0 logs at its lowest level, and has had two credentials and one that was refused.
    """
    vault = lab.active_vault()
    vault.write_data("sys/policies/password/seen", data={"policy": PASSWORD_POLICY})
    database = lab.topology.raw["database"]
    configuration = f"{database['mount']}/config/mysql"
    server = f"{lab.topology['mysql'].address}:{lab.topology.ports['mysql']}"
    known = {
        "plugin_name": "mysql-database-plugin",
        "allowed_roles": [database["role"], f"{database['role']}-migrate"],
        "connection_url": f"{{{{username}}}}:{{{{password}}}}@tcp({server})/",
        "username": "vaultadmin",
        "password": lab.home.secret("vaultadmin"),
    }
    vault.write_data(configuration, data={**known, "password_policy": "seen"})
    try:
        issued = vault.secrets.database.generate_credentials(database["role"], mount_point=database["mount"])
        assert PASSWORD.fullmatch(issued["data"]["password"].encode()), "the test's own premise"
        lab.deploy("todo0", extra={"TODO_LOG_LEVEL": "debug"})
        here = f"http://{lab.topology['todo0'].address}:{lab.topology.ports['todo']}"
        user = requests.get(f"{here}/health", timeout=5).json()["credential"]["user"]
        # Its user is dropped under it, so that a log-in is refused and another credential fetched.
        with lab.mysql_as("vaultadmin") as connection, connection.cursor() as cursor:
            cursor.execute("DROP USER %s@'%%'", (user,))
        assert requests.post(f"{here}/todo", json={"content": "x"}, timeout=10).status_code in (201, 503)
        requests.post(f"{here}/todo", data=b"{", timeout=5)
        until(
            lambda: requests.get(f"{here}/health", timeout=5).json()["credential"]["user"] != user,
            "Another credential",
            15,
        )
        yield lab
    finally:
        vault.write_data(configuration, data={**known, "password_policy": ""})
        vault.delete("sys/policies/password/seen")
        # The lease of the dropped user could never be revoked, and would stop whoever revokes them all.
        vault.sys.revoke_force(f"{database['mount']}/creds/{database['role']}")
        lab.deploy("todo0")


def test_no_secret_outside_of_its_own_file(talkative: Lab, command: Command) -> None:
    """Logs, configuration, audit logs, recordings, the supervisor's files: everything below LAB_HOME."""
    secrets = secrets_of(talkative)
    assert len(secrets) >= 3, "unseal keys, the operator's token, the database administrator's password"
    seen = []
    read = 0
    for file in talkative.home.path.rglob("*"):
        name = str(file.relative_to(talkative.home.path))
        if not file.is_file() or file.is_symlink() or OWN_FILES.match(name):
            continue
        content = file.read_bytes()
        read += 1
        seen += [f"{secret} in {name}" for secret, value in secrets.items() if value in content]
        seen += [f"a database password in {name}"] * bool(PASSWORD.search(content))
        seen += [f"a Vault token in {name}"] * bool(TOKEN.search(content))
        if re.match(r"logs/todo\d-todo", name):
            seen += [f"something like a secret id in {name}"] * bool(UUID.search(content))
    assert read > 30, "the search looked at hardly anything"
    assert not seen


def test_no_secret_in_the_arguments_of_any_process(talkative: Lab) -> None:
    secrets = secrets_of(talkative)
    commands = {process.pid: " ".join(process.cmdline()).encode() for process in tree(talkative)}
    assert len(commands) >= 12
    for pid, command in commands.items():
        assert not [name for name, value in secrets.items() if value in command], psutil.Process(pid).name()
        assert not TOKEN.search(command)
        assert not PASSWORD.search(command)


def test_the_search_finds_what_it_looks_for(lab: Lab) -> None:
    """The same search over the files that do hold secrets."""
    home = lab.home.path
    assert lab.home.secret("vaultadmin") in (home / "nodes/mysql/mariadb/init.sql").read_text()
    assert TOKEN.search((home / "secrets/operator-token").read_bytes())
    assert PASSWORD.search(b"password " + b"QXZZ" * 10)


def test_files_are_for_their_owner_alone(lab: Lab) -> None:
    """0600 and 0700 in the lab's folder and in that of the networks' claims.

    The sockets' own modes are their servers' choice, so their folder must keep everybody else out.
    Recordings are measurements, made to be shown; that no secret is in them another test looks after.
    """
    assert stat.S_IMODE(lab.home.runtime.stat().st_mode) == 0o700
    open_to_others = []
    for folder in (lab.home.path, networks.claims_folder()):
        for path in [folder, *folder.rglob("*")]:
            # The database server gives its own files to its group, below a folder that nobody else enters.
            own = path.is_relative_to(lab.home.path / "nodes" / "mysql" / "mariadb")
            if path.is_relative_to(lab.home.path / "runs") or path.name == recording.SPEC:
                continue
            mode = path.lstat().st_mode
            if not stat.S_ISLNK(mode) and mode & (0o007 if own else 0o077):
                open_to_others.append(f"{stat.filemode(mode)} {path.relative_to(folder.parent)}")
    # Others cannot get past the lab's folder itself, but a copy of it would let them.
    assert not open_to_others


def test_commands_print_no_secret_but_env(lab: Lab, command: Command) -> None:
    secrets = secrets_of(lab)
    for words in (["status"], ["status", "--json"], ["up"], ["heal"], ["unseal"], ["configure"]):
        result = command(*words)
        said = (result.out + result.err).encode()
        assert not [name for name, value in secrets.items() if value in said], words
        assert not TOKEN.search(said)
    assert lab.home.secret("operator-token") in command("env").out, (
        "`env` hands the token on, as its help says"
    )
    assert lab.home.secret("root-token") is None, "the root token is gone"


def test_notebooks_hold_no_secret(lab: Lab) -> None:
    secrets = secrets_of(lab)
    for file in sorted((REPOSITORY / "notebooks").rglob("*")):
        if file.is_file() and ".ipynb_checkpoints" not in file.parts:
            content = file.read_bytes()
            assert not TOKEN.search(content), file
            assert not [name for name, value in secrets.items() if value in content], file


@pytest.mark.skipif(shutil.which("git") is None or not (REPOSITORY / ".git").exists(), reason="not a clone")
def test_commits_hold_no_secret(lab: Lab) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, timeout=30, check=True
    ).stdout
    secrets = secrets_of(lab)
    for name in filter(None, listed.decode().split("\0")):
        file = REPOSITORY / name
        content = file.read_bytes() if file.is_file() else b""
        assert not TOKEN.search(content), name
        assert not [secret for secret, value in secrets.items() if value in content], name


def test_no_wrapping_token_stays_behind(lab: Lab) -> None:
    """An instance removes the file once it has unwrapped what it holds."""
    for node in lab.topology.of("todo"):
        assert not (lab.home.node_folder(node.name, "todo") / "todo.secret").exists(), node.name
