"""What `cd lab && vagrant up` asks for before it boots anything: the configuration of all six nodes.

Run as `python -m helpers.machines` by lab/Vagrantfile. The machines then start agents, Vaults and the
database by themselves; `lab up` or the four helper scripts go on from there.
"""

from __future__ import annotations

import os
import subprocess
import sys

from helpers import nodes, states
from helpers.drivers.vagrant import VagrantDriver
from helpers.errors import LabError
from helpers.lab import Lab


def main() -> int:
    """Prepare the lab of `LAB_HOME` for its machines; return 1 after saying why it cannot be."""
    os.environ["LAB_DRIVER"] = "vagrant"
    try:
        lab = Lab.open()
        assert isinstance(lab.driver, VagrantDriver)
        with lab.home.changing():
            nodes.prepare(lab)
            lab.driver.prepare(lab.say)
            lab.driver.supervise(lab.say)
            lab.driver.note_booting(os.getppid())
        states.at_least(lab, "nodes")
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"This machine refuses to go on ({error}); mend that and try again.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; no machine was booted. `vagrant up` begins again.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
