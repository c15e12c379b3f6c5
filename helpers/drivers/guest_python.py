"""The Python packages that todo needs on a machine: pinned, checked by hash, installed once into the cache.

The machines run Debian 12, whose Python is 3.11; they find the folder as a shared one, so nothing is
downloaded inside of them.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import tempfile
from pathlib import Path

from helpers import cache
from helpers.drivers import providers
from helpers.errors import LabError
from helpers.topology import REPOSITORY

VERSION = "3.11"
#: What todo imports, under the names of requirements.lock; a test compares.
DIRECT = (
    "fastapi",
    "hvac",
    "pydantic-settings",
    "pymysql",
    "python-consul",
    "requests",
    "sqlalchemy",
    "structlog",
    "tenacity",
    "uvicorn",
)


def needed(lock: str) -> str:
    """Return the part of a lock file that `DIRECT` and what they need make up.

    The lock says below each package who asks for it (`# via`), as uv writes it.
    """
    blocks: dict[str, str] = {}
    for block in re.split(r"\n(?=[a-z0-9])", lock):
        if found := re.match(r"([a-z0-9._-]+)==", block):
            blocks[found[1]] = block
    askers = {
        name: set(re.findall(r"^ +#(?: via)? +([a-z0-9._-]+)$", text, re.M)) for name, text in blocks.items()
    }
    chosen = set(DIRECT)
    while more := {name for name, who in askers.items() if who & chosen} - chosen:
        chosen |= more
    return "\n".join(blocks[name].rstrip() for name in sorted(chosen)) + "\n"


def folder() -> Path:
    """Return the folder of the packages, installing them on the first call; `LabError` when that fails."""
    lock = needed((REPOSITORY / "requirements.lock").read_text())
    place = cache.root() / "guest" / f"python-{VERSION}-{hashlib.sha256(lock.encode()).hexdigest()[:8]}"
    if place.exists():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as work:
        file, unfinished = Path(work) / "requirements.txt", Path(work) / "packages"
        file.write_text(lock)
        own = Path(sys.executable).parent / "uv"
        uv = str(own) if own.exists() else shutil.which("uv") or "uv"
        command = [uv, "pip", "install", "--quiet", "--target", str(unfinished), "--python-version", VERSION]
        command += ["--only-binary=:all:", "--no-deps", "--require-hashes", "-r", str(file)]
        done = providers.run(*command, timeout=600)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise LabError(f"The packages for todo's machines could not be installed: {reason}.")
        try:
            unfinished.rename(place)
        except OSError:
            if not place.exists():  # another command has installed them meanwhile
                raise
    return place
