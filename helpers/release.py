"""A program from HashiCorp's release archive, checked against its list of sums.

The archive's layout: `NAME/VERSION/NAME_VERSION_SHA256SUMS` and `NAME/VERSION/NAME_VERSION_OS_ARCH.zip`,
which holds the program (https://www.hashicorp.com/en/official-release-channels).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from pathlib import Path

import httpx

from helpers import cache
from helpers.errors import LabError
from helpers.progress import ticking

ARCHIVE = "https://releases.hashicorp.com"
# Seconds. Short to connect: who has no way there should be compiling by then.
_LIMITS = httpx.Timeout(20, connect=5)
_BLOCK = 1 << 20


class UnavailableError(Exception):
    """The archive cannot be reached, or has no such program: another way is to be tried."""


def archive() -> str | None:
    """Return the archive's address: `LAB_RELEASES` may name a mirror, or be `none`."""
    chosen = os.environ.get("LAB_RELEASES", ARCHIVE)
    return None if chosen == "none" else chosen.rstrip("/")


def fetch(name: str, folder: Path) -> None:
    """Put a program into a folder as `folder/name`.

    Raises `UnavailableError` when the archive cannot give it, and `LabError` when what it gave is
    damaged or not what the list of sums says.
    """
    address = archive()
    if address is None:
        raise UnavailableError("LAB_RELEASES is none")
    version, system = cache.pinned(name), cache.machine().replace("-", "_")
    file = f"{name}_{version}_{system}.zip"
    with httpx.Client(
        base_url=f"{address}/{name}/{version}/", timeout=_LIMITS, follow_redirects=True
    ) as client:
        try:
            answer = client.get(f"{name}_{version}_SHA256SUMS").raise_for_status()
        except httpx.HTTPStatusError as error:
            raise UnavailableError(f"{address} answers {error.response.status_code}") from error
        except httpx.HTTPError as error:
            raise UnavailableError(f"{address} cannot be reached") from error
        expected = _sum_of(file, answer.text, address)
        _download(client, file, folder / file)
    _compare(folder / file, expected)
    _extract(folder / file, name, folder)
    (folder / file).unlink()


def _sum_of(file: str, sums: str, address: str) -> str:
    for line in sums.splitlines():
        expected, _, named = line.partition("  ")
        if named.strip() == file and len(expected) == hashlib.sha256().digest_size * 2:
            return expected.lower()
    raise UnavailableError(f"the list of sums at {address} does not name {file}")


def _download(client: httpx.Client, file: str, place: Path) -> None:
    done = 0
    total = 0

    def how_far() -> str:
        return f"{done >> 20} of {total >> 20} MB of {file}"

    try:
        with client.stream("GET", file) as answer:
            answer.raise_for_status()
            total = int(answer.headers.get("Content-Length", 0))
            with place.open("wb") as target, ticking(how_far):
                for block in answer.iter_bytes(_BLOCK):
                    target.write(block)
                    done += len(block)
    except httpx.HTTPStatusError as error:
        raise UnavailableError(f"{client.base_url.host} answers {error.response.status_code}") from error
    except httpx.ConnectError as error:
        raise UnavailableError(f"{client.base_url.host} cannot be reached") from error
    except httpx.HTTPError as error:
        raise LabError(
            f"The download of {file} broke off after {done >> 10} kB; nothing of it was kept. Run it again."
        ) from error


def _compare(place: Path, expected: str) -> None:
    with place.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != expected:
        raise LabError(
            f"{place.name} does not have the sum that the release archive lists for it, so it was refused "
            "and nothing of it kept. Run it again; LAB_RELEASES=none compiles the program instead."
        )


def _extract(place: Path, name: str, folder: Path) -> None:
    try:
        with (
            zipfile.ZipFile(place) as content,
            content.open(name) as source,
            (folder / name).open("wb") as target,
        ):
            shutil.copyfileobj(source, target, _BLOCK)
    except (zipfile.BadZipFile, KeyError) as error:
        raise LabError(f"{place.name} holds no program called {name}; it was refused.") from error
