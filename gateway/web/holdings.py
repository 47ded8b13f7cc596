"""What clusters hold, and what may be held, for administrators (clusters/ledger.py)."""

from typing import Any

from gateway.clusters.ledger import Ledger
from gateway.config.limits import KINDS


def holdings(ledger: Ledger) -> list[dict[str, Any]]:
    """Who holds what, by name; memory is in bytes."""
    return [
        {"user": name, **{kind: allowance.held[kind] for kind in KINDS}}
        for name, allowance in sorted(ledger.users.items())
    ]


def limits_in_force(ledger: Ledger) -> list[dict[str, Any]]:
    """Each limit of all together, of groups, and of users who hold something, with what of it is in use."""
    personal = [allowance for _, allowance in sorted(ledger.users.items())]
    return [
        {
            "holder": allowance.holder,
            "kind": kind,
            "held": allowance.held[kind],
            "most": limit.most,
            "option": limit.option,
        }
        for allowance in (*reversed(ledger.shared), *personal)
        for kind, limit in allowance.limits.items()
    ]
