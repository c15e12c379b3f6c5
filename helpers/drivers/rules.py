"""The one nftables table that a node's network faults are made of, as a script for `nft`.

The same for a namespace and for a machine: it lies in the node, not on the host, and nothing else is touched.
"""

from __future__ import annotations

TABLE = "labfault"  # the only table that is ever made or removed
DELETE = f"delete table inet {TABLE}"


def drop(addresses: list[str], percent: int = 100, deaf: bool = False) -> str:
    """Return the script that drops what passes between a node and some addresses.

    `addresses` are single ones or networks, `percent` how much of it is dropped, packet by packet; both ways,
    or with `deaf` only what arrives. What the table held before is replaced; the node's own loopback is left
    alone.
    """
    elements = ", ".join(addresses)
    some = "" if percent == 100 else f"numgen random mod 100 < {percent} "
    out = [] if deaf else [f"add rule inet {TABLE} out oif != lo ip daddr @cut {some}drop"]
    return "; ".join(
        [
            f"add table inet {TABLE}",
            DELETE,
            f"add table inet {TABLE}",
            f"add set inet {TABLE} cut {{ type ipv4_addr; flags interval; elements = {{ {elements} }}; }}",
            f"add chain inet {TABLE} in {{ type filter hook input priority 0; }}",
            f"add chain inet {TABLE} out {{ type filter hook output priority 0; }}",
            f"add rule inet {TABLE} in iif != lo ip saddr @cut {some}drop",
            *out,
        ]
    )
