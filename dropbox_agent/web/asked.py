"""What a page is asked for, as it stands in its address; whatever is not understood is as if it were not there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Any, TypeVar, get_args
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from dropbox_agent.model import DropSearch, JobOrder, JobSearch
from dropbox_agent.states import DropState, JobState

PAGE_ROWS = 50
"""How many jobs or manifests one page lists."""
LAST_PAGE = 1_000_000
"""A page number beyond this is read as this."""
WORDS = 8
CHARACTERS = 100
"""How much of a search is looked at."""
LIVE_SECONDS = 3
"""How often a page asks whether something on it changed, while work goes on."""
LIST_SECONDS = 10
"""How often a list does."""
ORDERS: tuple[JobOrder, ...] = get_args(JobOrder)

State = TypeVar("State", bound=Enum)


@dataclass(frozen=True)
class Asked:
    """The address of a page: its path, and what was asked for."""

    path: str
    values: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str:
        """Return what was written for a name, or nothing."""
        return next((value for key, value in self.values if key == name), "")

    def link(self, **changes: Any) -> str:
        """Return the address with these values instead; None takes one out. The page number is not kept."""
        changed = {"page": None, **changes}
        kept = [(key, value) for key, value in self.values if key not in changed]
        new = [(key, str(value)) for key, value in changed.items() if value not in (None, "")]
        return self.path + ("?" + urlencode(kept + new) if kept or new else "")

    def without(self, name: str, value: str) -> str:
        """Return the address without this one value."""
        kept = [pair for pair in self.values if pair != (name, value) and pair[0] != "page"]
        return self.path + ("?" + urlencode(kept) if kept else "")

    def at(self, path: str) -> str:
        """Return the same question to another address."""
        return Asked(path, self.values).link()

    @property
    def page(self) -> int:
        """The page asked for; the first one when it is not a number."""
        written = self.get("page")
        if not (written.isascii() and written.isdigit()):
            return 1
        return min(max(int(written[:10]), 1), LAST_PAGE)

    @property
    def offset(self) -> int:
        """How many rows come before the page asked for."""
        return (self.page - 1) * PAGE_ROWS


def asked(path: str, query: QueryParams, known: Iterable[str]) -> Asked:
    """Return what was asked for, each once, without what is empty or unknown."""
    names = set(known)
    pairs = ((key, value.strip()[:CHARACTERS]) for key, value in query.multi_items() if key in names)
    return Asked(path, tuple(dict.fromkeys((key, value) for key, value in pairs if value)))


JOBS = ("q", "state", "user", "project", "subject", "job_type", "modality", "since", "until", "manifest", "sort",
        "way", "page")  # fmt: skip
"""What the list of jobs may be asked for."""
DROPS = ("q", "state", "page")


def job_search(what: Asked) -> JobSearch:
    """Return which jobs are asked for."""
    sort = what.get("sort")
    return JobSearch(
        words=_words(what.get("q")),
        states=_states(what, JobState),
        user=what.get("user"),
        project=what.get("project"),
        subject=what.get("subject"),
        job_type=what.get("job_type"),
        modality=what.get("modality"),
        since=_day(what.get("since")),
        until=_day(what.get("until")),
        drop_id=int(what.get("manifest")) if _is_id(what.get("manifest")) else None,
        order=next((order for order in ORDERS if order == sort), "submitted"),
        ascending=what.get("way") == "up",
    )


def drop_search(what: Asked) -> DropSearch:
    """Return which manifests are asked for."""
    return DropSearch(_words(what.get("q")), _states(what, DropState))


def paging(what: Asked, found: Sequence[Any], total: int) -> dict[str, Any]:
    """Return what a template needs to link the pages, and to say which part of all is shown."""
    first = what.offset + 1 if found else 0
    last = what.offset + len(found) if found else 0
    return {"asked": what, "first": first, "last": last, "total": total, "page_count": -(-total // PAGE_ROWS)}


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split()[:WORDS])


def _states(what: Asked, kind: type[State]) -> tuple[State, ...]:
    written = {value for key, value in what.values if key == "state"}
    return tuple(state for state in kind if state.value in written)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19
