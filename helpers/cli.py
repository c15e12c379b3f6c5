"""The `lab` command: every verb of the lab from a terminal.

Exit codes: 0 done, 1 failed with one sentence on stderr, 2 wrong usage.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Annotated

import consul
import hvac
import requests
import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from helpers import doctor as doctor_module
from helpers import faults
from helpers.errors import LabError
from helpers.faults import FAULTS
from helpers.home import Home
from helpers.lab import Lab
from helpers.status import Status

app = typer.Typer(
    help="The lab of the twelve-factor workbook: six nodes, real Consul, Vault, MariaDB and todo.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console(highlight=False)

TARGET_HELP = (
    "NODE (its service) or NODE:PROGRAM, such as todo0 or todo0:agent; "
    "vault.leader, vault.standby, todo.any and all mean whoever it is now."
)
Target = Annotated[str, typer.Argument(metavar="TARGET", help=TARGET_HELP)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LONGEST = 3600.0  # seconds of a fault that heals by itself
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE}
CTRL_C = 130  # what typer makes of a KeyboardInterrupt: 128 + SIGINT, without a word
GOOD = {"unsealed", "passing", "OK", "leader", "found", "ok"}
BAD = {"sealed", "critical", "FAIL", "not running", "no answer", "not registered", "missing"}


def _styled(word: str) -> str:
    """Colour a word that is already plain without colour."""
    if word in GOOD:
        return f"[blue]{word}[/blue]"
    return f"[bold red]{word}[/bold red]" if word in BAD else word


@app.command()
def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Install what is missing.")] = False,
    as_json: Json = False,
) -> None:
    """Say what this machine has and lacks for the lab, with the remedy for each."""
    findings = doctor_module.diagnose()
    if fix and any(not finding.ok for finding in findings):
        doctor_module.fix(findings, typer.echo)
        findings = doctor_module.diagnose()
    if as_json:
        typer.echo(json.dumps([finding.as_dict() for finding in findings], indent=2))
    else:
        console.print(doctor_module.table(findings))
    if any(not finding.ok for finding in findings):
        raise typer.Exit(1)


@app.command()
def up(state: Annotated[str, typer.Argument(help="How far up the ladder.")] = "deployed") -> None:
    """Take the lab to a state: down, nodes, initialized, unsealed, configured or deployed."""
    begun = time.monotonic()
    Lab.at(state, typer.echo)
    typer.echo(f"  {time.monotonic() - begun:5.1f} s  in all: the lab is {state}")


@app.command()
def init(
    shares: Annotated[int | None, typer.Option(min=1, help="How many key shares to make.")] = None,
    threshold: Annotated[int | None, typer.Option(min=1, help="How many unseal.")] = None,
) -> None:
    """Initialize Vault: split its key and keep the shares in the lab's folder."""
    Lab.open(typer.echo).init(shares, threshold)


@app.command()
def unseal(
    nodes: Annotated[list[str] | None, typer.Argument(metavar="[NODE]...")] = None,
) -> None:
    """Unseal the named Vaults, or all."""
    Lab.open(typer.echo).unseal(*(nodes or []))


@app.command()
def configure() -> None:
    """Make Vault's policies, log-ins and database roles, then revoke the root token."""
    Lab.open(typer.echo).configure()


@app.command()
def deploy(
    nodes: Annotated[list[str] | None, typer.Argument(metavar="[NODE]...")] = None,
) -> None:
    """Deploy todo to the named nodes (todo2 is a spare), or to all after migrating the schema."""
    Lab.open(typer.echo).deploy(*(nodes or []))


def _tables(status: Status) -> Table:
    grid = Table.grid(padding=(1, 0))
    for title, columns, rows in (
        (
            "vault",
            ["node", "address", "sealed", "health", "leader"],
            [(r.node, r.address, r.sealed, r.health, r.leader) for r in status.vaults],
        ),
        (
            "todo",
            ["node", "address", "health", "test"],
            [(r.node, r.address, r.health, r.test) for r in status.todos],
        ),
    ):
        table = Table(*columns, title=title, title_justify="left")
        for row in rows:
            table.add_row(*(_styled(word) for word in row))
        grid.add_row(table)
    for sentence, good in status.summary():
        grid.add_row(sentence if good else f"[bold red]{sentence}[/bold red]")
    return grid


@app.command()
def status(
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every 0.5 s.")] = False,
    as_json: Json = False,
) -> None:
    """Show every Vault and every todo: what they are, what Consul says, whether a real write works."""
    lab = Lab.open(typer.echo)
    lab.need_driver()
    if watch:
        try:
            with Live(_tables(lab.status()), console=console, auto_refresh=False) as live:
                while True:
                    due = time.monotonic() + 0.5
                    live.update(_tables(lab.status()), refresh=True)
                    time.sleep(max(0.0, due - time.monotonic()))
        except KeyboardInterrupt:
            return
    found = lab.status()
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=2))
    else:
        console.print(_tables(found))
    if not found.ok:
        raise typer.Exit(1)


@app.command()
def start(target: Target) -> None:
    """Start a program; a todo gets a new secret id. A Vault stays sealed until `lab unseal`."""
    Lab.open(typer.echo).start(target)


@app.command()
def stop(target: Target) -> None:
    """Ask a program to end in order (TERM)."""
    Lab.open(typer.echo).stop(target)


@app.command()
def kill(target: Target) -> None:
    """End a program at once (KILL)."""
    Lab.open(typer.echo).kill(target)


@app.command()
def pause(target: Target) -> None:
    """Freeze a program (STOP)."""
    Lab.open(typer.echo).pause(target)


@app.command()
def resume(target: Target) -> None:
    """Let a frozen program go on (CONT)."""
    Lab.open(typer.echo).resume(target)


@app.command()
def inject(
    fault: Annotated[str, typer.Argument(help=f"One of {', '.join(FAULTS)}.")],
    target: Target,
    seconds: Annotated[
        float | None,
        typer.Option("--for", min=0.0, max=LONGEST, help="Heal after so many seconds; else `lab heal` does."),
    ] = None,
) -> None:
    """Break something: do a fault to a target."""
    lab = Lab.open(typer.echo)
    lab.need_driver()
    planned = faults.plan(lab, fault, target)
    if seconds is not None:
        faults.hold(lab, planned, seconds, typer.echo)
        return
    FAULTS[fault].inject(lab, planned)
    typer.echo(f"{planned.label}; `lab heal` repairs it")


@app.command()
def heal() -> None:
    """Repair everything: start, wake, unseal and redeploy what needs it."""
    Lab.open(typer.echo).heal()


@app.command()
def logs(
    target: Target,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it is written.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many at first.")] = 50,
) -> None:
    """Print a program's log."""
    lab = Lab.open(typer.echo)
    for line in lab.logs(target, lines):
        typer.echo(line)
    if not follow:
        return
    found = lab.topology.target(target)
    with lab.home.log(found.node, found.program).open(errors="replace") as file:
        file.seek(0, os.SEEK_END)
        try:
            while True:
                if text := file.read():
                    typer.echo(text, nl=False)
                time.sleep(0.2)
        except KeyboardInterrupt:
            return


@app.command()
def env() -> None:
    """Print export lines for CONSUL_HTTP_ADDR, VAULT_ADDR, VAULT_TOKEN and TODO_URLS: eval "$(lab env)"."""
    lab = Lab.open(typer.echo)
    lab.need("configured")
    topology = lab.topology
    leader = lab.resolve("vault.leader")[0].node
    todos = " ".join(f"http://{node.address}:{topology.ports['todo']}" for node in topology.of("todo"))
    server = topology.server.address
    typer.echo(f'export CONSUL_HTTP_ADDR="http://{server}:{topology.ports["consul_http"]}"')
    typer.echo(f'export VAULT_ADDR="{lab.address_of_vault(leader)}"')
    typer.echo(f'export VAULT_TOKEN="{lab.vault(leader).token}"')
    typer.echo(f'export TODO_URLS="{todos}"')


@app.command()
def down(
    purge: Annotated[bool, typer.Option("--purge", help="Remove the lab's folder too.")] = False,
) -> None:
    """End every process of the lab; its data stays unless purged."""
    home = Home.locate()
    if purge and home.exists and home.settings.get("driver") is None:
        home.purge()  # of a lab that found no driver it could use: nothing was made
        return
    Lab.open(typer.echo).down(purge)


def _interrupt_again(lost: sys.UnraisableHookArgs) -> None:
    """Repeat a Ctrl-C that hit a finalizer: Python prints its traceback and goes on as if nothing was."""
    if lost.exc_type is KeyboardInterrupt:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(lost)


def _sentence(error: Exception) -> str:
    """Return what went wrong and what to do: on this machine, or in a server that answers otherwise."""
    said = " ".join(str(error).split())[:300]
    if isinstance(error, OSError) and (error.errno in FULL or isinstance(error.filename, str)):
        return f"This machine refuses to go on ({said}); make room or allow it, then run the command again."
    # A server that is down, frozen, sealed or leaderless: with a fault in, any command may meet one.
    return (
        f"A server of the lab failed in the middle of this ({type(error).__name__}: {said}); "
        "`lab status` shows which, `lab heal` repairs it."
    )


def main() -> None:
    """Run the command; turn what went wrong into one sentence and an exit code."""
    before, sys.unraisablehook = sys.unraisablehook, _interrupt_again
    try:
        app(prog_name="lab")
    except LabError as error:
        typer.echo(str(error), err=True)
        sys.exit(1)
    except (
        consul.ConsulException,
        hvac.exceptions.VaultError,
        requests.RequestException,
        OSError,
        subprocess.TimeoutExpired,
    ) as error:
        typer.echo(_sentence(error), err=True)
        sys.exit(1)
    except SystemExit as ended:
        if ended.code != CTRL_C:
            raise
        typer.echo("Interrupted; `lab heal` repairs what was left half done.", err=True)
        sys.exit(1)
    finally:
        sys.unraisablehook = before


if __name__ == "__main__":
    main()
