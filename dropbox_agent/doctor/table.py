"""The findings as a person sees them: a table, and one line that sums up."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dropbox_agent.doctor.findings import Finding, Verdict

STYLES = {
    Verdict.OK: "green",
    Verdict.WARNING: "yellow",
    Verdict.FAILED: "bold red",
    Verdict.UNUSABLE: "bold red",
    Verdict.NOT_CONFIGURED: "dim",
}


def show(found: Sequence[Finding], console: Console) -> None:
    """Print what was found, and what to do."""
    table = Table(box=None, pad_edge=False)
    for heading in ("what", "verdict", "found, and what to do"):
        table.add_column(heading, header_style="dim", overflow="fold")
    for one in found:
        words = Text(one.sentence)
        if one.advice:
            words.append(f"\n{one.advice}", style="bold")
        table.add_row(Text(one.name), Text(one.verdict.value, style=STYLES[one.verdict]), words)
    console.print(table)
    console.print()
    console.print(_summed_up(found))


def _summed_up(found: Sequence[Finding]) -> Text:
    failed = sum(one.verdict in (Verdict.FAILED, Verdict.UNUSABLE) for one in found)
    warned = sum(one.verdict is Verdict.WARNING for one in found)
    if failed:
        more = f", and {warned} to look at" if warned else ""
        return Text(f"{failed} {'things do' if failed > 1 else 'thing does'} not work{more}.", "bold red")
    if warned:
        return Text(f"It works; {warned} {'things' if warned > 1 else 'thing'} to look at.", "yellow")
    return Text("All is well.", "green")
