"""The rules that make verdicts comparable: nbval drops a misspelt one without a word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from nbval.plugin import get_sanitize_patterns

FILE = Path(__file__).resolve().parents[1] / "sanitize.cfg"
PATTERNS = dict(get_sanitize_patterns(FILE.read_text()))


def sanitized(text: str) -> str:
    """Apply the rules in their order, as nbval does."""
    for pattern, replacement in PATTERNS.items():
        text = re.sub(pattern, replacement, text)
    return text


def test_every_rule_is_read() -> None:
    lines = FILE.read_text().splitlines()
    meant = [line for line in lines if re.match(r"\s*regex\b", line)]
    assert len(PATTERNS) == len(meant) == 11
    assert len([line for line in lines if re.match(r"\s*replace\b", line)]) == len(meant)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("token hvs." + "CAESIJ" * 4, "token TOKEN"),
        ("s." + "a1B2c3" * 4, "TOKEN"),
        ("accessor 0a1b2c3d-0000-4000-8000-0123456789ab", "accessor UUID"),
        ("v-approle-todo-8f7d6s5a4-1700000000", "USERNAME"),
        ("mysql/creds/todo/" + "aB3" * 8, "mysql/creds/todo/LEASE"),
        ("<object at 0x7f00deadbeef>", "<object at MEMORY>"),
        ("http://127.20.21.14:8080", "http://NETWORK.14:8080"),
        ("2026-01-02T03:04:05.123456Z", "TIMESTAMP"),
        ("in 3.25 s", "in DURATION"),
        ("Consul v1.22.5", "Consul VERSION"),
        ("<Figure size 640x480 with 1 Axes>", "<FIGURE with 1 Axes>"),
    ],
)
def test_what_each_rule_replaces(before: str, after: str) -> None:
    assert sanitized(before) == after


def test_secrets_go_first() -> None:
    assert list(PATTERNS.values())[:2] == ["TOKEN", "TOKEN"]


def test_verdicts_stay_as_they_are() -> None:
    for line in ("held             vault1 leads", "broken           both todos pass", "6.3 right"):
        assert sanitized(line) == line
