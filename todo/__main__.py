"""`python -m todo` serves, `python -m todo migrate` brings the schema up to date.

Exit codes: 0 ended as asked, 1 failed, 2 wrong settings or usage, 3 the secret id was refused.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from todo.errors import EXIT_SETTINGS, RefusalError
from todo.settings import ServiceSettings, Settings, read


def main(arguments: list[str]) -> int:
    """Run one of the two processes; return the exit code."""
    try:
        if not arguments:
            from todo.serve import serve  # not before: the web framework takes half a second

            serve(read(ServiceSettings))
            return 0
        if arguments == ["migrate"]:
            from todo.migrate import migrate

            migrate(read(Settings))
            return 0
    except RefusalError as refusal:
        print(refusal, file=sys.stderr)
        return refusal.exit_code
    print("Usage: python -m todo [migrate]; all settings come from the environment.", file=sys.stderr)
    return EXIT_SETTINGS


def end(code: int) -> NoReturn:
    """End the process at once; all that had to be tidied up has been.

    Python's own end waits for threads that sit in a read, and a frozen server never answers.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    end(main(sys.argv[1:]))
