"""What somebody wrote is told back fit to show, and with the word that was probably meant."""

from __future__ import annotations

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
