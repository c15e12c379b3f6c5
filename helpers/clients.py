"""Clients for the lab's servers, each the real library with its traps disarmed."""

from __future__ import annotations

import os
import ssl
import threading
from functools import cache
from typing import Any

import consul
import hvac
import pymysql
import requests
from requests.adapters import HTTPAdapter

_ENVIRONMENT = threading.Lock()


class _Timeouts(HTTPAdapter):
    """An HTTP adapter that gives every request a time-out: python-consul sets none."""

    def __init__(self, timeout: tuple[float, float]) -> None:
        self._limit = timeout
        super().__init__()

    def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs["timeout"] = kwargs.get("timeout") or self._limit
        return super().send(request, *args, **kwargs)


class ConsulClient(consul.Consul):
    """python-consul 1.1.0 with its token in a header, time-outs, and no surprise from the environment.

    As released it sends the token as `?token=` (deprecated since Consul 1.15) or, on many calls,
    not at all; waits for ever on a frozen agent; and lets `CONSUL_HTTP_ADDR` win over its arguments.
    For a blocking query give a read time-out above its `wait` plus a sixteenth of it.
    """

    def __init__(
        self,
        host: str,
        port: int = 8500,
        token: str | None = None,
        timeout: tuple[float, float] = (2.0, 10.0),
    ) -> None:
        self._where = (host, port)
        self._header_token = token
        self._timeout = timeout
        with _ENVIRONMENT:
            # With a scheme, as `lab env` prints it, CONSUL_HTTP_ADDR is refused before connect() is asked.
            hidden = {n: os.environ.pop(n) for n in list(os.environ) if n.startswith("CONSUL_HTTP_")}
            try:
                super().__init__(host=host, port=port)
            finally:
                os.environ.update(hidden)
        self.token = None

    def connect(self, host: str, port: int, scheme: str, verify: bool = True, cert: Any = None) -> Any:
        """Connect where the constructor was told to, whatever the environment says."""
        host, port = self._where
        http = super().connect(host, port, scheme, verify, cert)
        http.session.trust_env = False
        if self._header_token:
            http.session.headers["X-Consul-Token"] = self._header_token
        for prefix in ("http://", "https://"):
            http.session.mount(prefix, _Timeouts(self._timeout))
        return http


def vault(address: str, token: str = "", timeout: float = 10.0) -> hvac.Client:
    """Return a Vault client for one server; without a token it is unauthenticated.

    hvac would otherwise pick up `VAULT_TOKEN` or `~/.vault-token` in silence.
    """
    session = requests.Session()
    session.trust_env = False
    client = hvac.Client(url=address, token=token, timeout=timeout, session=session)
    if not token:
        client.token = ""
    return client


@cache
def _tls() -> ssl.SSLContext:
    """One context for the process: building it costs 40 ms, and PyMySQL would do it per connection."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the lab's server makes its own certificate
    return context


def mysql(
    host: str, port: int, user: str, password: str, database: str, *, tls: bool = False
) -> pymysql.Connection[Any]:
    """Return an open connection with autocommit.

    `tls` is for a MySQL 8 or 9 server, whose default log-in wants an encrypted channel;
    the lab's MariaDB speaks plain.
    """
    encryption: dict[str, Any] = {"ssl": _tls()} if tls else {"ssl_disabled": True}
    return pymysql.connect(
        host=host,
        port=port,
        user=user,
        password=password,
        database=database,
        autocommit=True,
        connect_timeout=5,
        read_timeout=10,
        write_timeout=10,
        **encryption,
    )
