"""What the vagrant driver wants of this machine, each lack in one sentence."""

from __future__ import annotations

import re
import shutil
import sys

import psutil

from helpers.drivers import routes
from helpers.drivers.providers import Docker, Provider
from helpers.errors import LabError
from helpers.programs import find

#: The programs that are called, and Debian's packages; the provider has its own.
TOOLS = (("vagrant", "vagrant"), ("ssh", "openssh-client"), ("ssh-keygen", "openssh-client"))
MEMORY = {"containers": 1.0, "machines": 3.5}  # GiB: programs alone; 512 MB each and some for the provider


def refuse_unfit() -> None:
    """Raise `LabError` for another system than Linux, or a program that is missing or of the wrong kind."""
    if sys.platform != "linux":
        raise LabError("The vagrant driver shares its programs with Linux machines, so it needs Linux here.")
    if shutil.which("vagrant") is None:
        raise LabError("The vagrant driver needs Vagrant; `lab doctor --fix` installs it (vagrant).")
    if find("mariadb").flavour != "mariadb":
        raise LabError("The machines run MariaDB, so its tables must be made by MariaDB, not by MySQL.")
    if int(find("mariadb").version.split(".")[0]) > 10:
        # 11.0 gave up InnoDB's change buffer; an older server takes its files for damaged.
        raise LabError(
            f"The machines run Debian's MariaDB 10.11, which cannot open tables made by the "
            f"{find('mariadb').version} of this machine; use the local driver (unset LAB_DRIVER) or netns."
        )


def refuse_little_memory(provider: Provider) -> None:
    """Raise `LabError` when six machines have no room."""
    wanted = MEMORY["containers" if isinstance(provider, Docker) else "machines"]
    if (free := psutil.virtual_memory().available / 2**30) < wanted:
        raise LabError(
            f"Six machines of {provider.name} take {wanted:g} GiB of memory, and {free:.1f} GiB are "
            "free; end other programs, or use the local driver (unset LAB_DRIVER)."
        )


def refuse_taken_addresses(provider: Provider, network: str) -> None:
    """Raise `LabError` when a route of this machine leads into the machines' network, or around it."""
    place = f"{network}.0/24"
    taken = routes.taken(place)
    if provider.keeps is not None:
        taken = [line for line in taken if not re.search(rf" dev {provider.keeps}\d", line)]
    if taken:
        raise LabError(
            f"The addresses {place} are in use here ({taken[0]}); end what uses them first, or set "
            "LAB_NETWORK to another network, such as 10.20.20, before the lab is made."
        )
