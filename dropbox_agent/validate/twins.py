"""Rows that name one asset: only one of them could be uploaded."""

from __future__ import annotations

from collections.abc import Sequence

from dropbox_agent.model import Level, Problem, Row
from dropbox_agent.validate.check import Check


def tell_twins(checks: Sequence[Check]) -> None:
    """Refuse all rows that name one asset, each with the place of another."""
    by_asset: dict[tuple[str, str], list[Check]] = {}
    for check in checks:
        if check.has_asset():
            by_asset.setdefault(check.asset(), []).append(check)
    for (_, name), twins in by_asset.items():
        for check in twins if len(twins) > 1 else ():
            other = twins[1] if check is twins[0] else twins[0]
            alike = "says the same" if other.row.entry == check.row.entry else "is the same session"
            message = f"{_where(other.row)} {alike}, {name}. Each session may stand in a manifest once."
            check.problems.append(Problem(Level.ERROR, check.row.place, message, found=name))


def _where(row: Row) -> str:
    if row.place.column:
        return f"{row.place.column} in line {row.place.row}"
    return f"Row {row.place.row}"
