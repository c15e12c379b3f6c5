"""Where the `lab` command begins: before its imports, so that a Ctrl-C during them is one sentence, too."""

from __future__ import annotations

import sys


def main() -> None:
    """Import the command and run it."""
    try:
        from helpers import cli
    except KeyboardInterrupt:
        print("Interrupted before anything was done.", file=sys.stderr)
        sys.exit(1)
    cli.main()
