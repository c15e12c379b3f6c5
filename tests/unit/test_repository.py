"""What must never stand in a committed file, and what the front page promises."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from helpers import workbook
from helpers.topology import REPOSITORY

# Package registries are reached as each machine is set up to; their names belong to nobody's project.
# Written apart, so that this file does not find itself.
REGISTRIES = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("proxy", "golang"),
        ("registry", "npmjs"),
        ("deb", "debian"),
    )
]
# The guests' own user is called vagrant; every other home is somebody's.
HOME_PATHS = re.compile(r"(?<![\w.])/(?:root|home/(?!vagrant/)[a-z]\w*|Users/\w+|work)/[\w.]")


def committed() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    paths = [REPOSITORY / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def texts() -> list[tuple[str, str]]:
    found = []
    for path in committed():
        try:
            found.append((str(path.relative_to(REPOSITORY)), path.read_text()))
        except UnicodeDecodeError:
            continue
    return found


def test_no_path_of_a_machine_is_committed() -> None:
    here = str(REPOSITORY)
    found = [
        f"{name}: {match[0]}"
        for name, text in texts()
        for match in HOME_PATHS.finditer(text)
        if not name.endswith(("go.sum", "requirements.lock"))
    ]
    assert found == []
    assert [name for name, text in texts() if here in text] == []


def test_no_registry_is_named() -> None:
    assert [(name, host) for name, text in texts() for host in REGISTRIES if host in text] == []


def test_nothing_that_is_made_is_committed() -> None:
    made = re.compile(r"(^|/)(\.lab|out|\.venv|__pycache__|\.ipynb_checkpoints)(/|$)")
    names = [str(path.relative_to(REPOSITORY)) for path in committed()]
    assert [name for name in names if made.search(name)] == []


def test_no_large_file_is_committed() -> None:
    # A notebook with its figures stays under 2 MB; anything larger is a program or a recording.
    assert [str(path) for path in committed() if path.stat().st_size > 2_000_000] == []


def test_continuous_integration_runs_make_test_and_where_it_may_the_namespaces() -> None:
    script = REPOSITORY / ".ci" / "run"
    lines = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    made = [line.strip() for line in lines if line.strip().startswith("make ")]
    assert made == ["make test", "make test-netns"]
    assert "make test-netns was not run" in script.read_text(), "it says when it could not"
    assert script.stat().st_mode & 0o100


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = (REPOSITORY / page).read_text()
    targets = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [target for target in targets if not (REPOSITORY / target).exists()] == []


def test_the_readme_names_only_targets_that_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\bmake ([a-z-]+)", (REPOSITORY / page).read_text()):
            assert re.search(rf"^{target}:", makefile, re.M), f"{page} promises make {target}"


@pytest.mark.parametrize("root", [True, False])
@pytest.mark.parametrize("display", [{}, {"DISPLAY": ":0"}, {"WAYLAND_DISPLAY": "wayland-0"}])
def test_jupyter_listens_on_this_machine_only(root: bool, display: dict[str, str]) -> None:
    words = workbook.command(display, root, "linux")
    assert "--ServerApp.ip=127.0.0.1" in words
    assert ("--allow-root" in words) == root
    assert ("--no-browser" in words) == (not display)
    assert not any("token" in word or "password" in word for word in words)  # Jupyter makes its own
    assert any(workbook.FIRST in word for word in words)
