"""`make workbook`: JupyterLab on the first notebook, for this machine's user alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from helpers.errors import LabError
from helpers.topology import REPOSITORY

FIRST = "notebooks/00-start-here.ipynb"


def command(environment: Mapping[str, str], root: bool, system: str = sys.platform) -> list[str]:
    """Return JupyterLab's command: on 127.0.0.1 only, with its token; a browser where there is a display.

    JupyterLab refuses to run as root unless told; in a container there is nobody else.
    """
    display = system == "darwin" or bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))
    words = [sys.executable, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1"]
    words += ["--allow-root"] if root else []
    words += [FIRST] if display else ["--no-browser", f"--LabApp.default_url=/lab/tree/{FIRST}"]
    return words


def main() -> None:
    """Replace this process by JupyterLab."""
    if not (REPOSITORY / FIRST).is_file():
        raise LabError(f"{FIRST} is missing from this checkout; `git checkout notebooks` brings it back.")
    words = command(os.environ, root=os.geteuid() == 0)
    if "--no-browser" in words:
        print("No display here: open the address with the token that JupyterLab prints.", flush=True)
    os.chdir(REPOSITORY)
    path = f"{REPOSITORY / '.venv' / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    os.execve(words[0], words, {**os.environ, "PATH": path})  # `lab` is on PATH in its terminals


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        sys.exit(str(error))
