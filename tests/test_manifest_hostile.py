"""Files that are torn, mutated or noise: refused in words, within bounds, and the next file is read as ever."""

from __future__ import annotations

import io
import json
import logging
import random
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dropbox_agent.manifest import LIMITS, Room
from dropbox_agent.manifest.parse import Found, parse
from dropbox_agent.model import Level

SAMPLES = Path(__file__).parent / "samples"
CONTENT = {name: (SAMPLES / f"session.{name}").read_bytes() for name in ("xlsx", "csv", "yaml", "json")}
MOST_MIB = 256
MOST_SECONDS = 10.0
QUICKLY = settings(
    max_examples=60,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@dataclass
class Watched:
    """A warm room, and what reading cost in it."""

    room: Room
    file: Path
    costs: list[Any] = field(default_factory=list)

    def read(self, content: bytes, suffix: str) -> Found:
        """Return what is made of a file; what it took is within the bounds, and nothing was left unsaid."""
        self.file.write_bytes(content)
        begun = time.monotonic()
        rows, problems = self.room.read(self.file, f"s.{suffix}")
        assert time.monotonic() - begun < LIMITS.wall_seconds + 20
        assert rows or problems
        if self.costs:
            assert self.costs[-1].peak_mib <= MOST_MIB
            assert self.costs[-1].cpu_seconds <= MOST_SECONDS + 1
        return rows, problems


class Costs(logging.Handler):
    def __init__(self, kept: list[Any]) -> None:
        super().__init__(logging.DEBUG)
        self.kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        if hasattr(record, "peak_mib"):
            self.kept.append(record)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    logger = logging.getLogger("dropbox_agent.manifest.room")
    with Room() as room:
        made = Watched(room, tmp_path_factory.mktemp("hostile") / "spooled")
        handler, level = Costs(made.costs), logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        yield made
        logger.removeHandler(handler)
        logger.setLevel(level)


def test_the_limits_are_those_that_are_promised() -> None:
    assert LIMITS.wall_seconds <= MOST_SECONDS
    assert LIMITS.cpu_seconds <= MOST_SECONDS


@QUICKLY
@given(st.integers(1, len(CONTENT["xlsx"]) - 1))
def test_a_part_of_a_workbook_is_always_refused(tmp_path: Path, end: int) -> None:
    assert refused(tmp_path, CONTENT["xlsx"][:end], "xlsx")


@QUICKLY
@given(st.integers(1, len(CONTENT["json"].rstrip()) - 1))
def test_a_part_of_a_json_is_always_refused(tmp_path: Path, end: int) -> None:
    assert refused(tmp_path, CONTENT["json"][:end], "json")


@QUICKLY
@given(st.sampled_from(["csv", "yaml"]), st.data())
def test_a_part_of_a_csv_or_yaml_is_refused_or_told(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    content = CONTENT[suffix]
    end = data.draw(st.integers(1, len(content) - 1).filter(lambda end: not content[:end].endswith(b"\n")))
    (tmp_path / "spooled").write_bytes(content[:end])
    _, problems = parse(tmp_path / "spooled", f"s.{suffix}", LIMITS)
    assert any(p.level is Level.ERROR or "does not end with a line break" in p.message for p in problems)


def refused(folder: Path, content: bytes, suffix: str) -> bool:
    (folder / "spooled").write_bytes(content)
    rows, problems = parse(folder / "spooled", f"s.{suffix}", LIMITS)
    return rows == () and [problem.level for problem in problems] == [Level.ERROR]


@QUICKLY
@given(st.binary(min_size=1, max_size=4000), st.sampled_from(sorted(CONTENT)))
def test_noise_neither_crashes_nor_hangs_the_reader(watched: Watched, noise: bytes, suffix: str) -> None:
    watched.read(noise, suffix)


@QUICKLY
@given(st.sampled_from(sorted(CONTENT)), st.integers(0, 2**32))
def test_a_mutated_manifest_neither_crashes_nor_hangs_the_reader(watched: Watched, suffix: str, seed: int) -> None:
    watched.read(mutated(CONTENT[suffix], random.Random(seed)), suffix)


@QUICKLY
@given(st.integers(0, 2**32))
def test_a_workbook_with_a_mutated_part_neither_crashes_nor_hangs_the_reader(watched: Watched, seed: int) -> None:
    chance = random.Random(seed)
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(CONTENT["xlsx"])) as source, zipfile.ZipFile(written, "w") as target:
        hit = chance.choice(source.namelist())
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, mutated(content, chance) if name == hit else content)
    watched.read(written.getvalue(), "xlsx")


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Return the content with some bytes changed, or pieces of it repeated or taken away."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(changed) or 1)
        piece = bytes(changed[at : at + chance.randint(1, 60)])
        match chance.randrange(3):
            case 0:
                changed[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                changed[at:at] = piece * chance.randint(1, 50)
            case _:
                del changed[at : at + len(piece)]
    return bytes(changed) or b"x"


def bomb() -> bytes:
    """A workbook of a few kilobytes that says it unpacks to 60 MB, and does."""
    book = openpyxl.Workbook()
    written = io.BytesIO()
    book.save(written)
    cells = "".join(f'<row r="{n}"><c r="A{n}" t="inlineStr"><is><t>x</t></is></c></row>' for n in range(1, 900_000))
    out = io.BytesIO()
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("sheet1.xml"):
                content = content.replace(b"<sheetData />", f"<sheetData>{cells}</sheetData>".encode())
            target.writestr(name, content)
    return out.getvalue()


def strings_bomb() -> bytes:
    """A workbook whose shared texts take all the memory there is."""
    book = openpyxl.Workbook()
    book.worksheets[0]["A1"] = "x"
    written, out = io.BytesIO(), io.BytesIO()
    book.save(written)
    texts = "<si><t>abc</t></si>" * 3_000_000
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("sharedStrings.xml"):
                content = content.replace(b"</sst>", f"{texts}</sst>".encode())
            target.writestr(name, content)
    return out.getvalue()


HOSTILE = {
    "a bomb of rows": (bomb, "xlsx"),
    "a bomb of texts": (strings_bomb, "xlsx"),
    "a million brackets": (lambda: b"[" * 1_000_000, "json"),
    "deep yaml": (lambda: b"a: " + b"[" * 100_000, "yaml"),
    "a long number": (lambda: b'{"subject_id": ' + b"9" * 900_000 + b"}", "json"),
    "a wide csv": (lambda: b"," * 1_000_000 + b"\n", "csv"),
    "quotes without end": (lambda: b'"' * 999_999 + b"\n", "csv"),
    "aliases": (lambda: b"a: &a [x]\n" + b"".join(b"k%d: *a\n" % n for n in range(50_000)), "yaml"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_made_to_cost_much_is_refused_within_the_bounds(watched: Watched, name: str) -> None:
    make, suffix = HOSTILE[name]
    _, problems = watched.read(make(), suffix)
    assert Level.ERROR in {problem.level for problem in problems}


def test_of_many_keys_that_nobody_knows_the_first_are_told_and_the_rest_is_counted(watched: Watched) -> None:
    watched.file.write_bytes(json.dumps({f"k{n}": n for n in range(60_000)}).encode())
    # How long it takes by the clock depends on what else runs here; what it may cost does not.
    with Room(replace(LIMITS, wall_seconds=200.0)) as room:
        _, problems = room.read(watched.file, "s.json")
    assert watched.costs[-1].cpu_seconds <= MOST_SECONDS
    assert {problem.level for problem in problems} == {Level.WARNING}
    assert "And 59500 more warnings." in {problem.message for problem in problems}
    assert len(problems) == 501


def test_after_all_of_them_a_good_file_is_read_as_ever(watched: Watched) -> None:
    # Enough of them whichever of the tests above ran in this process.
    for end in range(1, 102):
        watched.read(CONTENT["xlsx"][: -end * 10], "xlsx")
    rows, problems = watched.read(CONTENT["xlsx"], "xlsx")
    assert (len(rows), problems) == (2, ())
    assert len(watched.costs) > 100
    assert max(cost.peak_mib for cost in watched.costs) <= MOST_MIB
