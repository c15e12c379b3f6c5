"""Stand-ins for what set-up meets outside: a release archive, programs that say a version, Go."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from helpers import cache

BANNERS = {
    "consul": "Consul v{version}\nBuild Date 1970-01-01T00:00:01Z",
    "vault": "Vault v{version}, built 2025-11-18T13:04:32Z",
    "mariadbd": "mariadbd  Ver {version}-MariaDB for debian-linux-gnu on x86_64",
    "mysqld": "/opt/bin/mysqld  Ver {version} for Linux on x86_64 (conda-forge)",
}


def program(folder: Path, name: str, version: str, more: str = "") -> Path:
    """Make a program that says a version and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{BANNERS[name].format(version=version)}\nEND\n{more}")
    path.chmod(0o755)
    return path


def go(folder: Path, build: str = "", version: str = "1.26.6") -> Path:
    """Make a Go whose `build` writes a program that says the pinned version, after the words `build`."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "source" / "command"
    source.mkdir(parents=True, exist_ok=True)
    (source / "main.go").write_text("package command\n")
    source.chmod(0o555)  # as Go keeps its modules
    path = folder / "go"
    path.write_text(
        f"""#!/bin/sh
case "$1 $2" in
  version*) echo "go version go{version} linux/amd64" ;;
  "env GOVERSION") echo go{version} ;;
  env*) echo "{folder}/gocache" ;;
  list*) echo "{folder}/source" ;;
  mod*) ;;
  build*)
    {build}
    while [ "$1" != -o ]; do shift; done
    case "$2" in
      *consul) echo 'echo "Consul v{cache.pinned("consul")}"' > "$2" ;;
      *) echo 'echo "Vault v{cache.pinned("vault")}, built today"' > "$2" ;;
    esac
    sed -i '1i #!/bin/sh' "$2" ;;
esac
"""
    )
    path.chmod(0o755)
    return path


def script(name: str, version: str | None = None) -> bytes:
    """Return a program that says a version, to be put into an archive."""
    banner = BANNERS[name].format(version=version or cache.pinned(name))
    return f"#!/bin/sh\ncat <<'END'\n{banner}\nEND\n".encode()


def left(shelf: Path) -> list[str]:
    """Return what is in a folder."""
    return sorted(str(path.relative_to(shelf)) for path in shelf.rglob("*")) if shelf.exists() else []


@dataclass
class Archive:
    """A release archive on this machine; its faults are set before it is asked."""

    pages: dict[str, bytes] = field(default_factory=dict)
    cut: bool = False  # send half of an archive, then close the connection
    status: int = 200
    hold: threading.Event = field(default_factory=threading.Event)  # the second half waits for it
    asked: list[str] = field(default_factory=list)
    halfway: threading.Event = field(default_factory=threading.Event)
    address: str = ""

    def offer(self, name: str, content: bytes, sums: bytes | None = None) -> None:
        """Put a program on offer, with the right sums unless told others."""
        version, system = cache.pinned(name), cache.machine().replace("-", "_")
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("LICENSE.txt", "text")
            archive.writestr(name, content)
        file = f"{name}_{version}_{system}.zip"
        digest = hashlib.sha256(packed.getvalue()).hexdigest()
        listed = sums if sums is not None else f"{'0' * 64}  other.zip\n{digest}  {file}\n".encode()
        self.pages[f"/{name}/{version}/{file}"] = packed.getvalue()
        self.pages[f"/{name}/{version}/{name}_{version}_SHA256SUMS"] = listed


@contextmanager
def archive() -> Iterator[Archive]:
    """Run a release archive until the block ends."""
    state = Archive()
    state.hold.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            content = state.pages.get(self.path)
            if content is None or state.status != 200:
                self.send_error(404 if state.status == 200 else state.status)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.path.endswith(".zip"):
                half = len(content) // 2
                self.wfile.write(content[:half])
                self.wfile.flush()
                state.halfway.set()
                if state.cut:
                    return
                state.hold.wait(30)
                content = content[half:]
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.hold.set()
        server.shutdown()
        server.server_close()
