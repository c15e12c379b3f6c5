"""todo's settings: only the environment, and one clear sentence when it is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

from todo.errors import EXIT_SETTINGS, RefusalError
from todo.registration import check
from todo.settings import ServiceSettings, Settings, read


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A complete environment, and nothing else of todo's."""
    secret = tmp_path / "secret-id"
    secret.write_text("a wrapping token")
    for name, value in {
        "CONSUL_HTTP_ADDR": "http://127.20.20.14:8500",
        "TODO_NAME": "todo0",
        "TODO_HOST": "127.20.20.14",
        "TODO_ROLE_ID": "a role",
        "TODO_SECRET_ID_FILE": str(secret),
    }.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def refusal() -> str:
    with pytest.raises(RefusalError) as caught:
        read(ServiceSettings)
    assert caught.value.exit_code == EXIT_SETTINGS
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    return text


def test_defaults_are_the_documented_ones(environment: pytest.MonkeyPatch) -> None:
    settings = read(ServiceSettings)
    assert (settings.port, settings.approle_mount, settings.database_mount) == (8080, "approle", "mysql")
    assert (settings.database_role, settings.database_name) == ("todo", "Todo")
    assert (settings.on_vault_loss, settings.health) == ("hold", "deep")
    assert (settings.body_limit, settings.content_limit) == (65536, 1024)


def test_a_missing_variable_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("TODO_NAME")
    environment.delenv("CONSUL_HTTP_ADDR")
    text = refusal()
    assert "CONSUL_HTTP_ADDR" in text
    assert "TODO_NAME" in text
    assert "missing" in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONSUL_HTTP_ADDR", "127.20.20.14:8500"),
        ("CONSUL_HTTP_ADDR", "http://127.20.20.14"),
        ("CONSUL_HTTP_ADDR", "http://h:notaport"),
        ("TODO_NAME", "not a name"),
        ("TODO_PORT", "0"),
        ("TODO_PORT", "http"),
        ("TODO_ON_VAULT_LOSS", "shrug"),
        ("TODO_HEALTH", "medium"),
        ("TODO_DATABASE_NAME", "Todo`; DROP"),
        ("TODO_CONTENT_LIMIT", "2000"),
        ("TODO_BODY_LIMIT", "-1"),
        ("TODO_LOG_LEVEL", "loud"),
        ("TODO_SECRET_ID_FILE", "/nowhere/secret-id"),
    ],
)
def test_a_wrong_variable_is_named(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    assert name in refusal()


def test_a_fixed_password_needs_no_vault(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.delenv("TODO_ROLE_ID")
    environment.delenv("TODO_SECRET_ID_FILE")
    assert "TODO_ROLE_ID" in refusal()
    (tmp_path / "password").write_text("secret\n")
    environment.setenv("TODO_DATABASE_USER", "fixed")
    assert "TODO_DATABASE_PASSWORD_FILE" in refusal()
    environment.setenv("TODO_DATABASE_PASSWORD_FILE", str(tmp_path / "password"))
    settings = read(ServiceSettings)
    assert settings.fixed
    assert settings.fixed_password().get_secret_value() == "secret"


def test_the_migration_needs_neither_name_nor_host(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("TODO_NAME")
    environment.delenv("TODO_HOST")
    assert read(Settings).role_id == "a role"


@pytest.mark.parametrize("arguments", [[], ["migrate"], ["nonsense"]])
def test_the_process_says_it_in_one_line_and_exits_with_2(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "todo", *arguments],
        env={"PATH": "/usr/bin:/bin"},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == EXIT_SETTINGS
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_a_password_file_that_is_no_text_is_named(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(b"\xff\xfe")
    environment.setenv("TODO_DATABASE_PASSWORD_FILE", str(tmp_path / "password"))
    text = refusal()
    assert "TODO_DATABASE_PASSWORD_FILE" in text
    assert "cannot be read as text" in text


@pytest.mark.parametrize(("host", "shown"), [("127.20.20.14", "127.20.20.14"), ("::1", "[::1]")])
def test_the_check_asks_where_the_service_is(environment: pytest.MonkeyPatch, host: str, shown: str) -> None:
    environment.setenv("TODO_HOST", host)
    assert check(read(ServiceSettings))["http"] == f"http://{shown}:8080/health"
