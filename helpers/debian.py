"""The MariaDB server, from the packages of Debian and its relatives."""

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
    root = administrator()
    if shutil.which("apt-get") is None or root is None:
        raise LabError(f"The lab needs a MariaDB or MySQL server: {WAYS_OUT}.")
    say(f"· MariaDB's server, from the system's package {PACKAGE} (usually under a minute)")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    # Another apt, such as the nightly one, may hold the lock for a while.
    apt = [*root, "apt-get", "-q", "-o", "DPkg::Lock::Timeout=120"]
    install = [*apt, "install", "-y", "--no-install-recommends", PACKAGE]
    try:
        try:
            watch(install, lambda _: f"installing {PACKAGE}", env=environment)
        except CommandError:  # the lists of packages are missing, or older than the packages
            watch([*apt, "update"], lambda _: "apt-get update", env=environment)
            watch(install, lambda _: f"installing {PACKAGE}", env=environment)
    except CommandError as error:
        cause = str(error).splitlines()[-1]
        raise LabError(f"apt could not install {PACKAGE} ({cause}); otherwise {WAYS_OUT}.") from error
