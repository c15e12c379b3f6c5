"""Everything the service can be told, read once from the environment (twelve factors: III).

No file and no command line option changes its behaviour. The two halves of the credential
travel by different ways: the role id is common to all instances and comes in the
environment, the secret id belongs to one instance and waits, wrapped, in a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from todo.errors import EXIT_SETTINGS, RefusalError

COLUMN_CONTENT = 1024
"""Characters of the column `content`; see `todo.migrate`."""
COLUMN_STATUS = 255
"""Characters of the column `status`."""


def agent_address(text: str) -> str:
    """Check the address of the local Consul agent, `http://HOST:PORT`."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or not parts.port:
        raise ValueError("it must look like http://HOST:8500")
    return text.rstrip("/")


def existing_file(path: Path) -> Path:
    """Check that a file is there and can be read as text."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        path.read_text()
    except (OSError, UnicodeDecodeError):
        raise ValueError(f"the file {path} cannot be read as text") from None
    return path


S = TypeVar("S", bound="Settings")
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,64}$")]
File = Annotated[Path, AfterValidator(existing_file)]


class Settings(BaseSettings):
    """What both processes need: the service itself and the migration."""

    model_config = SettingsConfigDict(env_prefix="TODO_", env_ignore_empty=True, extra="ignore")

    consul: Annotated[str, AfterValidator(agent_address)] = Field(validation_alias="CONSUL_HTTP_ADDR")
    role_id: str | None = None
    secret_id_file: Path | None = None
    approle_mount: str = "approle"
    database_mount: str = "mysql"
    database_role: str = "todo"
    database_name: Identifier = "Todo"
    database_user: str | None = None
    database_password_file: File | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def fixed(self) -> bool:
        """Whether a fixed password is used instead of Vault (only to compare the speed)."""
        return self.database_user is not None

    def fixed_password(self) -> SecretStr:
        """Read the fixed password's file."""
        assert self.database_password_file is not None
        return SecretStr(self.database_password_file.read_text().strip())

    @model_validator(mode="after")
    def _one_source_of_credentials(self) -> Settings:
        if (self.database_user is None) != (self.database_password_file is None):
            raise ValueError("TODO_DATABASE_USER and TODO_DATABASE_PASSWORD_FILE go together")
        if self.fixed:
            return self
        if self.role_id is None:
            raise ValueError("TODO_ROLE_ID is missing")
        if self.secret_id_file is None:
            raise ValueError("TODO_SECRET_ID_FILE is missing")
        if not self.secret_id_file.is_file():
            raise ValueError(
                f"TODO_SECRET_ID_FILE names {self.secret_id_file}, which is not there: a secret id "
                "works once, so have a new one delivered"
            )
        return self


class ServiceSettings(Settings):
    """What the service needs on top: who it is, where it listens, and how it behaves."""

    name: Name
    host: str
    port: int = Field(8080, ge=1, le=65535)
    check_interval: float = Field(5.0, gt=0)
    """Seconds between two of Consul's checks of /health."""
    check_timeout: float = Field(1.0, gt=0)
    """Seconds after which Consul gives up on one check."""
    on_vault_loss: Literal["hold", "fail"] = "hold"
    """`hold` keeps the last credential while Vault is away, `fail` drops it at the lease's end."""
    health: Literal["deep", "shallow"] = "deep"
    """Whether /health asks the database (`deep`) or only says that the process answers."""
    body_limit: int = Field(65536, ge=1)
    """Bytes of a request's body."""
    content_limit: int = Field(COLUMN_CONTENT, ge=1, le=COLUMN_CONTENT)
    """Characters of a todo's content."""


def read(kind: type[S]) -> S:
    """Read the settings from the environment.

    Raises `RefusalError` with one sentence that names every variable that is missing or wrong.
    """
    try:
        return kind()  # type: ignore[call-arg]  # the values come from the environment
    except ValidationError as error:
        raise RefusalError(sentence(error), EXIT_SETTINGS) from None


def sentence(error: ValidationError) -> str:
    """Put pydantic's list of errors into one sentence about variables; values stay out of it."""
    missing = [variable(e["loc"]) for e in error.errors() if e["type"] == "missing"]
    wrong = [problem(dict(e)) for e in error.errors() if e["type"] != "missing"]
    parts = []
    if missing:
        are = "variable is" if len(missing) == 1 else "variables are"
        parts.append(f"the environment {are} missing: {', '.join(missing)}")
    parts += wrong
    text = "; ".join(parts)
    return f"todo cannot start: {text}."


def variable(location: tuple[int | str, ...]) -> str:
    """Return the environment variable behind a field's location in pydantic's report."""
    name = str(location[0]) if location else ""
    return name if name.isupper() else f"TODO_{name.upper()}"


def problem(error: dict[str, Any]) -> str:
    """Say what is wrong with one variable."""
    message = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:
        return message
    return f"{variable(error['loc'])} is wrong ({message[:1].lower()}{message[1:]})"
