"""What comes from the packages of Debian and its relatives: the MariaDB server, the netns driver's tools."""

from __future__ import annotations

import os
import shutil

from helpers.bootstrap import administrator
from helpers.errors import LabError
from helpers.progress import CommandError, Say, watch

PACKAGE = "mariadb-server-core"  # the server's programs alone: no service that starts by itself
WAYS_OUT = (
    "install it with `conda install -c conda-forge mysql-server`, `brew install mariadb`, or ask an "
    f"administrator for `apt-get install {PACKAGE}`"
)


def install_server(say: Say) -> None:
    """Install MariaDB by apt; `LabError` with the ways out where that is not possible."""
    install(PACKAGE, "a MariaDB or MySQL server", WAYS_OUT, say)


def install(package: str, what: str, otherwise: str, say: Say) -> None:
    """Install a package by apt.

    `what` completes "The lab needs …", `otherwise` says what to do instead. Raises `LabError` with both where
    there is no apt, nobody is an administrator, or apt fails.
    """
    root = administrator()
    if shutil.which("apt-get") is None or root is None:
        raise LabError(f"The lab needs {what}: {otherwise}.")
    say(f"· {what}, from the system's package {package} (usually under a minute)")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    # Another apt, such as the nightly one, may hold the lock for a while.
    apt = [*root, "apt-get", "-q", "-o", "DPkg::Lock::Timeout=120"]
    command = [*apt, "install", "-y", "--no-install-recommends", package]
    try:
        try:
            watch(command, lambda _: f"installing {package}", env=environment)
        except CommandError:  # the lists of packages are missing, or older than the packages
            watch([*apt, "update"], lambda _: "apt-get update", env=environment)
            watch(command, lambda _: f"installing {package}", env=environment)
    except CommandError as error:
        cause = str(error).splitlines()[-1]
        raise LabError(f"apt could not install {package} ({cause}); otherwise {otherwise}.") from error
