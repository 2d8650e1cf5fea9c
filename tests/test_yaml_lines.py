"""YAML is read with the line of each value, and what it would pass over in silence is told."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dropbox_agent import yaml_lines
from dropbox_agent.yaml_lines import Document, Finding, Unreadable, read


def form(text: str) -> list[str]:
    """Return what is wrong with the form of a text."""
    return [str(finding) for finding in read(text.encode(), typed=False).findings]


def refusal(content: str | bytes, **bounds: int) -> str:
    """Return why a text cannot be read at all."""
    with pytest.raises(Unreadable) as refused:
        read(content if isinstance(content, bytes) else content.encode(), typed=True, **bounds)
    return str(refused.value.finding)


# --- what is read ----------------------------------------------------------------------------------------------------


def test_a_document_has_its_values_and_the_line_of_each() -> None:
    document = read(b"a: 1\nb:\n  - x\n  - c: y\n    d: |\n      z\n", typed=False)
    assert document == Document(
        value={"a": "1", "b": ["x", {"c": "y", "d": "z\n"}]},
        lines={(): 1, ("a",): 1, ("b",): 2, ("b", 0): 3, ("b", 1): 4, ("b", 1, "c"): 4, ("b", 1, "d"): 5},
    )
    assert document.line_of(("b", 1, "unwritten", "below")) == 4


@pytest.mark.parametrize("text", ["", "# only words\n", "\ufeff"])
def test_a_text_in_which_nothing_is_written_has_no_lines(text: str) -> None:
    assert read(text.encode(), typed=True) == Document()


TEXTS = ("0012", "1_000", "12:30:45", "no", "1.10", "1e3", "2024-05-27", "0x10", ".inf", "=", "<<")


@pytest.mark.parametrize("text", TEXTS)
def test_plain_text_stays_text_unless_types_are_asked_for(text: str) -> None:
    assert read(text.encode(), typed=False).value == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("no", False),
        ("7", 7),
        ("0x10", 16),
        ("1.10", 1.1),
        (".inf", float("inf")),
        ("'7'", "7"),
        ("|\n  7", "7"),
        ("word", "word"),
        ("12:00:00", "12:00:00"),
        ("2024-05-27", "2024-05-27"),
        ("2024-13-45", "2024-13-45"),
        ("2024-05-27 16:07:59", "2024-05-27 16:07:59"),
        ("=", "="),
        ("<<", "<<"),
    ],
)
def test_types_are_those_of_yaml_but_times_stay_text(text: str, value: Any) -> None:
    document = read(text.encode(), typed=True)
    assert (document.value, document.findings) == (value, [])


@pytest.mark.parametrize("typed", [True, False])
def test_what_is_not_written_is_nothing(typed: bool) -> None:
    nothing = read(b"[~, null, NULL, '~', 'null', '']", typed=typed)
    assert nothing.value == [None, None, None, "~", "null", ""]


def test_keys_are_read_as_they_are_written() -> None:
    assert read(b"on: 1\n7: 2\n~: 3\n'<<': 4\n", typed=True).value == {"on": 1, "7": 2, "~": 3, "<<": 4}


# --- what is told ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        ("a: 1\nb: 2\na: 3", ['line 3: "a" is there twice, also in line 1; keep one of them']),
        ("a: {b: 1, b: 2}", ['line 1: "b" is there twice, also in line 1; keep one of them']),
        (
            "a: &x 1\nb: *x",
            [
                "line 1: &x is an anchor; leave it out, and write each value where it is used",
                "line 2: *x is an alias; write the value out here",
            ],
        ),
        ("&x a: 1", ["line 1: &x is an anchor; leave it out, and write each value where it is used"]),
        ("a: 1\nb:\n  <<: {c: 2}", ["line 3: << merges another mapping; write the values out here"]),
        ("a: !!str 1", ["line 1: !!str is a tag; leave it out, values need none"]),
        ("- !mine [1]", ["line 1: !mine is a tag; leave it out, values need none"]),
        ("!!str a: 1", ["line 1: !!str is a tag; leave it out, values need none"]),
        (
            "a: !!python/object/apply:os.system [id]",
            ["line 1: !!python/object/apply:os.system is a tag; leave it out, values need none"],
        ),
        ("%YAML 1.1\n---\na: 1", ["line 1: a directive (%NAME) is of no use here; leave it out"]),
        ("%TAG ! !x\n---\na: 1", ["line 1: a directive (%NAME) is of no use here; leave it out"]),
    ],
)
def test_what_could_mean_two_things_is_told_with_its_line(text: str, findings: list[str]) -> None:
    assert form(text) == findings


def test_the_first_of_two_equal_keys_counts_with_its_lines() -> None:
    document = read(b"a:\n  b: 1\na:\n  b: 2\n", typed=True)
    assert document.value == {"a": {"b": 1}}
    assert (document.line_of(("a",)), document.line_of(("a", "b"))) == (1, 2)


def test_an_alias_is_nothing_and_never_followed() -> None:
    assert read(b"a: &a [*a, x]", typed=True).value == {"a": [None, "x"]}


@pytest.mark.parametrize("text", ["9" * 5000, "0b_"])
def test_what_only_looks_like_a_number_is_told(text: str) -> None:
    words = "this looks like a number and is none; put it in quotes if it is text"
    assert read(f"x: 1\na: {text}".encode(), typed=True).findings == [Finding(("a",), 2, words)]


# --- what is refused as a whole --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\n---\nb: 2", "line 2: a second document begins here; write one only"),
        ("a: b\n? [c]\n: d", "line 2: there is a key that is not plain text; write KEY: VALUE"),
        ("{a: 1}: b", "line 1: there is a key that is not plain text; write KEY: VALUE"),
        ("a: 1\nb: \x01", "line 2: a character here is not allowed in YAML; type it anew"),
        ("é\na: \x7f", "line 2: a character here is not allowed in YAML; type it anew"),
        ("a: " + "[" * 60, "line 1: this is nested more than 50 deep; nothing here needs to be"),
        ("a: " + "{b: " * 5000, "line 1: this is nested more than 50 deep; nothing here needs to be"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused_with_its_line(text: str, reason: str) -> None:
    assert refusal(text) == reason


@pytest.mark.parametrize(("text", "line"), [("a: [", 1), ("a: [b\n", 2), ("x: 1\n\ta: b", 2), ("a: b\n c: d", 2)])
def test_what_is_not_yaml_is_refused_with_its_line(text: str, line: int) -> None:
    assert refusal(text).startswith(f"line {line}: this is not YAML: ")


def test_a_text_that_is_not_utf_8_is_refused_with_its_line() -> None:
    assert refusal("a: b\nc: Köln".encode("latin-1")) == "line 2: this is not UTF-8 text; save the file as UTF-8"


def test_bounds_can_be_narrower() -> None:
    assert refusal("a: [[b]]", depth=2) == "line 1: this is nested more than 2 deep; nothing here needs to be"
    assert refusal("[1,\n2,\n3]", nodes=3) == "line 3: there are more than 3 values; split the file"


# --- whatever stands in it -------------------------------------------------------------------------------------------

YAML_LIKE = st.text(st.sampled_from("ab: -[]{}\n\t'\"#&*!%|>?,~@`019._é\x00\ufeff"), max_size=60)


@given(YAML_LIKE, st.booleans())
def test_any_text_is_a_document_or_a_reason(text: str, typed: bool) -> None:
    try:
        document = read(text.encode(), typed=typed)
    except Unreadable as refused:
        assert refused.finding.words
    else:
        assert all(1 <= line <= text.count("\n") + 1 for line in document.lines.values())


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.text(min_size=1), parts, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_what_yaml_writes_is_read_back(value: Any) -> None:
    text = yaml.dump(value, Dumper=NoAliases, width=10_000)
    assert read(text.encode(), typed=True) == Document(value, lines=read(text.encode(), typed=False).lines)


class NoAliases(yaml.SafeDumper):
    """Writes equal values out, each where it stands."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def test_yaml_writes_times_that_are_read_as_text() -> None:
    moment = datetime(2024, 5, 27, 16, 7, 59, tzinfo=timezone.utc)
    assert read(yaml.safe_dump([moment]).encode(), typed=True).value == ["2024-05-27 16:07:59+00:00"]


def test_both_parsers_of_the_library_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"a: &x 1\nb: [!t c, *x]\na: 'd'\n<<: {e: ~}\n"
    with_default = read(text, typed=True)
    monkeypatch.setattr(yaml_lines, "LOADER", yaml.BaseLoader)
    assert read(text, typed=True) == with_default
