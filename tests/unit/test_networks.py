"""Claims of loopback networks: the first free one, kept while the lab is there, given back after."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from helpers import networks
from helpers.errors import LabError
from helpers.home import Home
from helpers.topology import description

FIRST = description()["networks"]["local"]


@pytest.fixture(autouse=True)
def own_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the claims of these tests apart from those of real labs."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def home(tmp_path: Path, name: str) -> Home:
    made = Home(tmp_path / name)
    made.create()
    return made


def test_candidates_begin_at_the_default() -> None:
    found = networks.candidates("127.20.20")
    assert found[:2] == ["127.20.20", "127.20.21"]
    assert found[-1] == "127.20.254"


def test_each_lab_gets_its_own_and_keeps_it(tmp_path: Path) -> None:
    first, second = home(tmp_path, "a"), home(tmp_path, "b")
    assert networks.claim(first) == FIRST
    other = networks.claim(second)
    assert other == networks.candidates(FIRST)[1]
    assert networks.claim(first) == FIRST
    assert networks.claim(second) == other
    assert networks.holder(other) == second.path


def test_a_released_network_is_free(tmp_path: Path) -> None:
    first, second = home(tmp_path, "a"), home(tmp_path, "b")
    networks.claim(first)
    networks.release(first)
    assert networks.holder(FIRST) is None
    assert networks.claim(second) == FIRST


def test_a_claim_ends_with_its_lab(tmp_path: Path) -> None:
    """Somebody removed the folder by hand, without `lab down --purge`."""
    first, second = home(tmp_path, "a"), home(tmp_path, "b")
    networks.claim(first)
    (first.path / "lab.json").unlink()
    assert networks.holder(FIRST) is None
    assert networks.claim(second) == FIRST


def test_all_taken_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "LAST", 21)
    for name in "ab":
        networks.claim(home(tmp_path, name))
    with pytest.raises(LabError, match=r"up to 127\.20\.21 are claimed by labs; purge one of them\.$"):
        networks.claim(home(tmp_path, "c"))


def test_claims_are_private(tmp_path: Path) -> None:
    networks.claim(home(tmp_path, "a"))
    folder = networks.claims_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in folder.iterdir())


def test_two_at_once_do_not_get_the_same(tmp_path: Path) -> None:
    homes = [home(tmp_path, f"lab{n}") for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(networks.claim, homes))
    assert len(set(claimed)) == 8


def test_the_labs_network_goes_past_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    networks.past_proxies("127.20.20")
    assert "NO_PROXY" not in os.environ, "nothing to go past"
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.setenv("no_proxy", "")
    networks.past_proxies("127.20.20")
    networks.past_proxies("127.20.20")
    assert os.environ["NO_PROXY"] == "example.org,127.20.20.0/24"
    assert requests.utils.should_bypass_proxies("http://127.20.20.14:8080/health", no_proxy=None)
    assert not requests.utils.should_bypass_proxies("http://192.0.2.1/", no_proxy=None)
