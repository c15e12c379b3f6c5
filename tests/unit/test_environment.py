"""conda's environment.yml, the lock and the recipes agree with pyproject.toml and lab/topology.yaml."""

from __future__ import annotations

import re
import tomllib

import yaml
from packaging.requirements import Requirement

from helpers import cache, doctor
from helpers.topology import REPOSITORY, description

# What conda-forge calls otherwise.
CONDA_NAMES = {"uvicorn": "uvicorn-standard"}
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
LOCK = (REPOSITORY / "requirements.lock").read_text()


def conda() -> dict[str, str]:
    """Return conda's and pip's requirements of environment.yml: name to version specification."""
    listed = yaml.safe_load((REPOSITORY / "environment.yml").read_text())["dependencies"]
    by_pip = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    words = [entry for entry in [*listed, *by_pip] if isinstance(entry, str) and not entry.startswith("-")]
    return {name: version for name, _, version in (entry.partition(" ") for entry in words)}


def test_conda_has_every_package_with_the_same_lower_bound() -> None:
    listed = conda()
    for text in PYPROJECT["dependencies"]:
        wanted = Requirement(text)
        name = CONDA_NAMES.get(wanted.name, wanted.name)
        assert name in listed, f"environment.yml lacks {name}"
        bound = str(wanted.specifier).lstrip(">=")
        assert listed[name].lstrip(">=") == bound, f"{name}: {listed[name]} there, {wanted.specifier} here"


def test_conda_has_the_python_that_the_project_asks_for() -> None:
    assert conda()["python"] == PYPROJECT["requires-python"]


def test_conda_has_the_vault_of_the_topology() -> None:
    assert conda()["vault"] == f"={description()['versions']['vault']}"


def test_conda_installs_the_lab_command() -> None:
    assert re.search(r"^ +- --editable \.$", (REPOSITORY / "environment.yml").read_text(), re.M)


def test_the_lock_satisfies_the_project() -> None:
    locked = doctor.locked_versions(LOCK)
    extras = PYPROJECT["optional-dependencies"]
    for text in [*PYPROJECT["dependencies"], *(line for extra in extras.values() for line in extra)]:
        wanted = Requirement(text)
        name = wanted.name.lower()
        assert name in locked, f"requirements.lock lacks {name}"
        assert wanted.specifier.contains(locked[name]), f"{name} {locked[name]} does not satisfy {text}"


def test_the_lock_has_a_hash_for_every_package_and_no_address() -> None:
    blocks = re.split(r"\n(?=[a-z0-9])", LOCK, flags=re.I)
    assert len(blocks) > 100
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert not re.search(r"https?://|--index-url|--find-links|--extra-index", LOCK)


def test_the_recipes_compile_the_versions_of_the_topology() -> None:
    for name in ("consul", "vault"):
        modules = (cache.RECIPES / name / "go.mod").read_text()
        assert f"github.com/hashicorp/{name} v{cache.pinned(name)}" in modules


def test_the_readme_names_the_versions_of_the_topology() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    for name in ("consul", "vault"):
        pinned = cache.pinned(name)
        series = pinned.rpartition(".")[0]
        assert f"| {name.capitalize()} {pinned}, or a later {series} |" in readme


def test_every_package_is_installed() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    found = {
        ".".join(file.parent.relative_to(REPOSITORY).parts)
        for top in ("helpers", "todo")
        for file in (REPOSITORY / top).rglob("__init__.py")
    }
    assert set(project["tool"]["setuptools"]["packages"]) == found
