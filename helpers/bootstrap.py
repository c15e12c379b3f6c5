"""The first half of `make setup`: a virtual environment with the locked packages.

Run by the machine's own python3 before any package is there, so it uses the standard library
alone, and nothing newer than Python 3.7 in its grammar: an old Python must be able to say that
it is too old. The second half, the programs, is `helpers/install.py`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
ENVIRONMENT = REPOSITORY / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
LOCK = REPOSITORY / "requirements.lock"
STAMP = ENVIRONMENT / "setup.stamp"
OLDEST = (3, 11)
NEWER = ("python3.14", "python3.13", "python3.12", "python3.11")
# Set by those who work inside another environment; here they would point past our own.
MISLEADING = ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX", "UV_PROJECT_ENVIRONMENT", "PIP_USER")


class SetupError(Exception):
    """What is wrong and what to do, in one sentence."""


def say(text: str) -> None:
    """Print a step of the set-up at once, also through a pipe."""
    print(text, flush=True)


def run(command: list[Any]) -> None:
    """Run a short command quietly; `SetupError` with its last words when it fails."""
    follow(command, aloud=False)


def follow(command: list[Any], aloud: bool = True) -> None:
    """Run a command, pass on what it prints; `SetupError` with its last words when it fails."""
    clean = {key: value for key, value in os.environ.items() if key not in MISLEADING}
    name = " ".join(str(part) for part in command[:4])
    last = "it did not say why"
    try:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=str(REPOSITORY),
            env=clean,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            errors="replace",
        )
    except OSError as error:
        raise SetupError(f"Cannot run {command[0]}: {error.strerror}.") from error
    with process:
        for line in filter(None, map(str.strip, process.stdout or ())):
            if not last.startswith(("error", "ERROR")):
                last = line.rstrip(".")
            if aloud and line[0] not in "+-~":  # uv's list of what it installed is 150 lines
                say("  " + line)
    if process.returncode:
        raise SetupError(f"`{name} …` failed: {last}. `make setup` begins again.")


def suitable_python() -> str:
    """Return a Python that is new enough: this one, else a newer one on PATH."""
    if sys.version_info >= OLDEST:
        return sys.executable
    for name in NEWER:
        found = shutil.which(name)
        if found:
            return found
    raise SetupError(
        "Python {}.{} is too old: the workbook needs 3.11 or later. Install one, then run "
        "`make setup PYTHON=/path/to/python3`.".format(*sys.version_info[:2])
    )


def fingerprint() -> str:
    """Return what decides whether the environment is up to date."""
    digest = hashlib.sha256(str(REPOSITORY).encode())
    for path in (LOCK, REPOSITORY / "pyproject.toml", Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def locked(name: str) -> str:
    """Return the lines of the lock that belong to one package, its hashes included."""
    lines, taking = [], False
    for line in LOCK.read_text().splitlines():
        if not line.startswith((" ", "#")):
            taking = line.startswith(name + "==")
        if taking:
            lines.append(line)
    return "\n".join(lines) + "\n"


def make_environment(python: str) -> None:
    """Create `.venv`; without pip, which Debian leaves out of its Python."""
    usable = PYTHON.exists() and not subprocess.call(
        [str(PYTHON), "-c", f"import sys; sys.exit(sys.version_info < {OLDEST!r})"]
    )
    if not usable:
        say("· virtual environment in .venv")
        run([python, "-m", "venv", "--without-pip", "--clear", ENVIRONMENT])


def has_module(python: str | Path, name: str) -> bool:
    """Whether a Python can import a module."""
    return subprocess.call([str(python), "-c", "import " + name], stderr=subprocess.DEVNULL) == 0


def administrator() -> list[str] | None:
    """Return the words that make a command run as root, or None when that is not possible."""
    if os.geteuid() == 0:
        return []
    asked = shutil.which("sudo") and subprocess.call(["sudo", "-n", "true"], stderr=subprocess.DEVNULL) == 0
    return ["sudo", "-n"] if asked else None


def get_pip(python: str) -> list[Any]:
    """Return the command of a pip that can install into `.venv`."""
    if has_module(PYTHON, "ensurepip"):
        run([PYTHON, "-m", "ensurepip", "--default-pip"])
        return [PYTHON, "-m", "pip"]
    if not has_module(python, "pip"):
        root = administrator()
        if root is None or not shutil.which("apt-get"):
            raise SetupError(
                "This Python has neither pip nor ensurepip: install the package python3-venv "
                "(`sudo apt-get install python3-venv`), or uv, then run `make setup` again."
            )
        say("· pip, from the system's packages")
        environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
        install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "python3-pip"]
        try:
            run(root + environment + install)
        except SetupError:  # the lists of packages are older than the packages
            run([*root, "apt-get", "update", "-qq"])
            run(root + environment + install)
    return [python, "-m", "pip", "--python", PYTHON]


def get_uv(python: str) -> Path:
    """Return the path of uv, after installing the locked version of it if need be."""
    own = ENVIRONMENT / "bin" / "uv"
    if own.exists():
        return own
    elsewhere = shutil.which("uv")
    if elsewhere:
        return Path(elsewhere)
    say("· uv, which installs the packages")
    wanted = ENVIRONMENT / "uv.lock"
    wanted.write_text(locked("uv"))
    options = ["install", "--quiet", "--require-hashes", "--disable-pip-version-check", "-r", wanted]
    run([*get_pip(python), *options])
    return own


def install_packages(uv: Path) -> None:
    """Install what the lock names, each file checked against its hash, and the project itself."""
    say("· packages of requirements.lock (10 to 60 s the first time)")
    target = ["--python", PYTHON]
    # Compiled now, since some machines (containers above all) forbid Python to do it later, and
    # todo would then take three times as long to start.
    follow([uv, "pip", "install", *target, "--require-hashes", "--compile-bytecode", "-r", LOCK])
    run([uv, "pip", "install", "--quiet", *target, "--no-deps", "--no-build-isolation", "-e", "."])


def packages() -> None:
    """Bring `.venv` up to date, unless it is; one set-up at a time."""
    with (REPOSITORY / ".venv.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another set-up works on .venv; waiting for it to end.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if STAMP.exists() and STAMP.read_text() == fingerprint():
            return
        begun = time.monotonic()
        python = suitable_python()
        make_environment(python)
        install_packages(get_uv(python))
        STAMP.write_text(fingerprint())
        say(f"· packages ready after {time.monotonic() - begun:.0f} s")


def main() -> int:
    """Install the packages, then the programs by the environment's own Python."""
    try:
        packages()
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Set-up cannot write {error.filename}: {error.strerror}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. `make setup` goes on from here.", file=sys.stderr)
        return 130
    if "--packages" not in sys.argv[1:]:
        os.execv(str(PYTHON), [str(PYTHON), "-m", "helpers.install"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
