"""Vault's audit log read back: which instance had which database credential, and when.

Vault writes a line for every request and every answer before it answers at all; secrets are in it as
keyed hashes only. Two settings of `helpers/vault_steps.py` make it readable for this purpose: user names
of database credentials and the accessors of tokens are written in clear.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from helpers.lab import Lab

AUDIT_LOG = "audit.log"
COLUMNS = ["instance", "user", "issued", "until", "ended"]
# How a credential ends, with the colour (Okabe-Ito) and the hatch of its bar.
ENDS = {
    "given back": ("#56B4E9", ""),
    "lease over": ("#E69F00", "///"),
    "login ended": ("#CC79A7", "xxx"),
    "in use": ("#009E73", "..."),
}
GIVEN_BACK = pd.Timedelta(seconds=1)  # todo gives a lease back by renewing it for one second


def answers(files: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the answered requests of audit logs in the order of time, without a half-written last line."""
    found = []
    for file in files:
        for line in file.read_text().splitlines() if file.exists() else []:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if entry["type"] == "response" and not entry.get("error"):
                found.append(entry)
    return sorted(found, key=lambda entry: str(entry["time"]))


def read(lab: Lab) -> list[dict[str, Any]]:
    """Return the answered requests of both Vaults: whoever leads writes its own log."""
    folders = [lab.home.node_folder(node.name, "vault") for node in lab.topology.of("vault")]
    return answers(folder / AUDIT_LOG for folder in folders)


def credentials(
    entries: Iterable[dict[str, Any]], lease: float, path: str = "mysql/creds/todo"
) -> pd.DataFrame:
    """Return one row per credential: instance, user, issued, until (UTC), and how it ended.

    `lease` is the seconds that Vault gave, which the log does not say. A credential ends when its owner
    gives it back, with its owner's login, or when its lease is over; one whose end is yet to come is
    `in use`. The instance is the metadata of the secret id that its owner logged in with.
    """
    rows: dict[str, dict[str, Any]] = {}
    owners: dict[str, str] = {}
    for entry in entries:
        request, when = entry["request"], pd.Timestamp(entry["time"])
        secret = ((entry.get("response") or {}).get("secret") or {}).get("lease_id")
        if request["path"] == path and secret:
            auth = entry["auth"]
            owners[secret] = auth["accessor"]
            rows[secret] = {
                "instance": auth.get("metadata", {}).get("instance", auth.get("display_name", "")),
                "user": entry["response"]["data"]["username"],
                "issued": when,
                "until": when + pd.Timedelta(seconds=lease),
                "ended": "lease over",
            }
        elif request["path"] == "sys/leases/renew" and secret in rows:
            rows[secret] |= {"until": when + GIVEN_BACK, "ended": "given back"}
        elif request["path"] == "auth/token/revoke-self":
            for owned, accessor in owners.items():
                if accessor == request["client_token_accessor"] and rows[owned]["until"] > when:
                    rows[owned] |= {"until": when, "ended": "login ended"}
    table = pd.DataFrame(list(rows.values()), columns=COLUMNS)
    table["issued"] = pd.to_datetime(table["issued"], utc=True)
    table["until"] = pd.to_datetime(table["until"], utc=True)
    table.loc[table["until"] > pd.Timestamp.now("UTC"), "ended"] = "in use"
    return table


def figure(table: pd.DataFrame, title: str, band: tuple[pd.Timestamp, pd.Timestamp] | None = None) -> Figure:
    """Draw credentials as bars over time, a pair of rows per instance, so that overlaps show.

    `table` is that of `credentials`; `band` marks a time, such as that of a load. Seconds count from the
    first bar.
    """
    zero = table["issued"].min()
    instances = sorted(table["instance"].unique())
    drawing = Figure(figsize=(9, 1.2 + 1.1 * len(instances)), layout="constrained")
    axes = drawing.subplots()
    if band is not None:
        begin, end = ((moment - zero).total_seconds() for moment in band)
        axes.axvspan(begin, end, color="0.93", zorder=0)
        axes.text(begin, -0.45, " under load", va="bottom", fontsize=9, color="0.35")
    for row, instance in enumerate(instances):
        mine = table[table["instance"] == instance].sort_values("issued")
        for number, (_, one) in enumerate(mine.iterrows()):
            start = (one["issued"] - zero).total_seconds()
            colour, hatch = ENDS[one["ended"]]
            height = row + (0.2 if number % 2 else -0.2)
            width = (one["until"] - one["issued"]).total_seconds()
            axes.barh(height, width, 0.36, start, color=colour, hatch=hatch, edgecolor="black", linewidth=0.8)
            axes.text(
                start + width / 2,
                height,
                one["user"][-4:],
                ha="center",
                va="center",
                fontsize=8,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            )
    for name, (colour, hatch) in ENDS.items():
        if name in set(table["ended"]):
            axes.barh(0, 0, color=colour, hatch=hatch, edgecolor="black", label=name)
    axes.set_yticks(range(len(instances)), instances)
    axes.set_ylim(len(instances) - 0.4, -0.6)
    axes.set_xlabel(
        "seconds since the first credential; a bar is a user of the database, with its name's end"
    )
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=9)
    return drawing
