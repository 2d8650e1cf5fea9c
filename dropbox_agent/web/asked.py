"""What a page is asked for: the page number, and what of many is shown on one page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

PAGE_ROWS = 50
"""How many jobs or manifests one page lists."""
LAST_PAGE = 1_000_000
"""A page number beyond this is read as this."""
RELOAD_SECONDS = 10
"""How often a page with unfinished work reloads itself."""

Thing = TypeVar("Thing")


def page_number(written: str) -> int:
    """Return the page asked for; the first one when it is not a number."""
    if not (written.isascii() and written.isdigit()):
        return 1
    return min(max(int(written[:10]), 1), LAST_PAGE)


def paging(found: Sequence[Thing], page: int) -> dict[str, Any]:
    """Return what a template needs to link the pages; ``found`` is one row longer than a page when there is a next."""
    return {"page": page, "has_next": len(found) > PAGE_ROWS}


def reloading(live: bool) -> dict[str, int]:
    """Return how often a page reloads itself: never once all work on it is done."""
    return {"reload_seconds": RELOAD_SECONDS if live else 0}
