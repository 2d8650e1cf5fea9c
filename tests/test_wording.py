"""What somebody wrote is told back fit to show, and with the word that was probably meant."""

from __future__ import annotations

import difflib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropbox_agent import wording


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (None, None),
        ("Köln 42", "Köln 42"),
        (["a", 1], "['a', 1]"),
        ("a\nb\x07", r"a\nb\x07"),
        ("a\u00a0b", r"a\xa0b"),
        ("evil\u202egpj.exe", r"evil\u202egpj.exe"),
        ("half \ud800", r"half \ud800"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "…"),
    ],
)
def test_what_was_found_is_shown_so_that_it_can_be_seen(found: Any, shown: str | None) -> None:
    assert wording.shown(found) == shown


@given(st.text(st.characters(), max_size=30), st.integers(1, 20))
def test_any_text_becomes_short_and_printable(text: str, characters: int) -> None:
    shown = wording.printable(text, characters)
    assert shown.isprintable()
    assert len(shown) <= characters


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("ephsy", "ephys"),
        ("EPHYS", "ephys"),
        ("Behavior Videos", "behavior-videos"),
        ("behavior_video", "behavior-videos"),
        ("something else", None),
        ("", None),
    ],
)
def test_the_word_that_was_probably_meant(word: str, meant: str | None) -> None:
    assert wording.nearest(word, ("behavior", "behavior-videos", "ephys")) == meant


@given(
    st.text("abcé- _", max_size=12),
    st.lists(st.text("abcd-", max_size=12), max_size=8),
    st.sampled_from([0.4, 0.6, 0.8]),
)
def test_no_word_that_is_near_is_passed_over_for_speed(word: str, known: list[str], cutoff: float) -> None:
    def shape(text: str) -> str:
        return re.sub(r"[\s_-]+", "-", text.casefold())

    nearest = difflib.get_close_matches(shape(word), {shape(name): None for name in known}, n=1, cutoff=cutoff)
    meant = wording.nearest(word, known, cutoff)
    assert (meant is None, meant is None or shape(meant)) == (not nearest, not nearest or nearest[0])
