"""The one folder that everything of a lab lies in: `.lab/`, or what `LAB_HOME` names.

The folder has mode 0700 and its secrets 0600. A file `lab.json` marks it as ours, so that
`lab down --purge` never removes a folder that the lab did not make.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from helpers.errors import LabError
from helpers.topology import REPOSITORY

MARKER = "lab.json"


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:  # a full disk, a Ctrl-C: a part of a secret must not stay
        Path(temporary).unlink(missing_ok=True)
        raise


def _runtime_parent() -> Path:
    """Return the folder for runtime folders by the environment."""
    parent = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    return parent if os.access(parent, os.W_OK) else Path(tempfile.gettempdir())


@dataclass(frozen=True)
class Home:
    """The lab's folder: where its data, logs, secrets and runs are."""

    path: Path

    @classmethod
    def locate(cls) -> Home:
        """Return the lab's home: `LAB_HOME`, or `.lab` in the repository."""
        chosen = os.environ.get("LAB_HOME")
        if not chosen:
            return cls(REPOSITORY / ".lab")
        try:
            return cls(Path(chosen).expanduser().resolve())
        except (RuntimeError, OSError, ValueError) as error:
            raise LabError(
                f"LAB_HOME is {chosen[:200]}, which is no folder ({error}); name another."
            ) from None

    @property
    def exists(self) -> bool:
        """Whether a lab was made here; one that this user may not look at is somebody's."""
        try:
            return stat.S_ISREG((self.path / MARKER).stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except PermissionError:
            return True

    def create(self) -> None:
        """Make the folder; `LabError` when it is not ours or cannot be written."""
        try:
            if self.path.exists() and not self.path.is_dir():
                raise LabError(f"LAB_HOME is {self.path}, which is a file; name a folder instead.")
            if self.path.is_dir() and not self.exists and any(self.path.iterdir()):
                raise LabError(
                    f"{self.path} holds files that are not a lab's; set LAB_HOME to an empty folder."
                )
            self.path.mkdir(parents=True, exist_ok=True)
            self.path.chmod(0o700)
            if "runtime" not in self.settings:
                self.remember(runtime=str(_runtime_parent()))
        except OSError as error:
            raise LabError(
                f"The lab's folder {self.path} cannot be written ({error.strerror}); "
                "set LAB_HOME to a folder that can."
            ) from None

    @property
    def settings(self) -> dict[str, Any]:
        """What `lab.json` remembers: the driver, the network, where sockets are."""
        try:
            loaded: dict[str, Any] = json.loads((self.path / MARKER).read_text())
            if not isinstance(loaded, dict):
                raise ValueError("it holds no settings")
        except FileNotFoundError:
            return {}
        except (ValueError, OSError) as error:
            raise LabError(
                f"{self.path / MARKER} cannot be read ({error}); remove {self.path} and start anew."
            ) from None
        return loaded

    def remember(self, **settings: Any) -> None:
        """Add to what `lab.json` remembers."""
        settings = {**self.settings, **settings}
        write_private(self.path / MARKER, json.dumps(settings, indent=2) + "\n")

    def folder(self, *parts: str) -> Path:
        """Return a folder below the home, made with mode 0700."""
        folder = self.path
        for part in parts:  # one by one: `parents=True` would leave those between to the umask
            folder = folder / part
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def node_folder(self, node: str, program: str) -> Path:
        """Return the folder that a program of a node runs in."""
        return self.folder("nodes", node, program)

    def log(self, node: str, program: str) -> Path:
        """Return the file that a program's standard output goes to."""
        return self.folder("logs") / f"{node}-{program}.log"

    def secret(self, name: str) -> str | None:
        """Return a secret by name, or None when there is none."""
        try:
            return (self.path / "secrets" / name).read_text()
        except FileNotFoundError:
            return None

    def keep_secret(self, name: str, text: str) -> Path:
        """Keep a secret under a name, readable by its owner only; return its file."""
        file = self.folder("secrets") / name
        write_private(file, text)
        return file

    def drop_secret(self, name: str) -> None:
        """Forget a secret."""
        (self.path / "secrets" / name).unlink(missing_ok=True)

    @property
    def runtime(self) -> Path:
        """A short folder for sockets: their paths must stay under 108 bytes.

        Where it is was chosen when the lab was made: another terminal's environment must not lead elsewhere,
        or a running lab would look dead there.
        """
        kept: str | None = None
        with suppress(LabError):  # of an unreadable file the sentence comes from who needs more of it
            kept = self.settings.get("runtime")
        parent = Path(kept) if kept and os.access(kept, os.W_OK) else _runtime_parent()
        name = f"lab-{os.getuid()}-{sha256(str(self.path).encode()).hexdigest()[:8]}"
        folder = parent / name
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise LabError(f"{folder} belongs to somebody else; set XDG_RUNTIME_DIR to your own.")
        folder.chmod(0o700)
        return folder

    def forget_data(self) -> None:
        """Remove what the cluster stored and every secret; the logs and runs stay."""
        # The nodes' folders themselves stay: machines may share them, and would keep the removed ones.
        for folder in [*self.path.glob("nodes/*/*"), self.path / "secrets"]:
            shutil.rmtree(folder, ignore_errors=True)

    def purge(self) -> None:
        """Remove the folder and all in it; `LabError` when it is not a lab's."""
        shutil.rmtree(self.runtime, ignore_errors=True)
        if not self.path.exists():
            return
        if not self.exists:
            raise LabError(f"{self.path} is not a lab's folder, so it is left alone.")
        shutil.rmtree(self.path)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Let one command at a time change the lab; `LabError` says who holds it."""
        with (self.runtime / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "another command"
                raise LabError(f"This lab is being changed by {holder}; wait for it or end it.") from None
            file.seek(0)
            file.truncate()
            file.write(f"process {os.getpid()}")
            file.flush()
            yield
