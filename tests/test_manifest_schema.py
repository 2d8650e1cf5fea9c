"""The schema of manifests, and every example of the documentation: what is shown there is read without a word."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
import yaml

from dropbox_agent import plan, validate
from dropbox_agent.manifest import LIMITS, document
from dropbox_agent.manifest.columns import meaning
from dropbox_agent.manifest.schema import json_schema
from dropbox_agent.model import Known

DOCS = Path(__file__).parent.parent / "docs" / "manifests.md"
PAYLOADS = Path(__file__).parents[2] / "shared" / "samples" / "payloads"
SAMPLES = Path(__file__).parent / "samples"
PLATFORMS, MODALITIES = validate.known_names()
KNOWN = Known(
    job_types=("default", "ecephys"),
    broken_job_types={},
    projects=("Ephys Platform", "Behavior Platform"),
    platforms=PLATFORMS,
    modalities=MODALITIES,
    buckets=("default", "private", "open"),
    task_ids=plan.task_ids(),
    default_email="lab@example.org",
    now=datetime(2026, 1, 31, tzinfo=timezone.utc),
)
CHECK: Any = fastjsonschema.compile(json_schema(KNOWN))
EXAMPLES = re.findall(r"```(yaml|json)\n(.*?)```", DOCS.read_text("utf-8"), re.S)


@pytest.mark.parametrize(("kind", "text"), EXAMPLES, ids=[f"{kind} {n}" for n, (kind, _) in enumerate(EXAMPLES, 1)])
def test_an_example_of_the_documentation_is_read_without_a_word_and_keeps_to_the_schema(kind: str, text: str) -> None:
    rows, problems = document.read(text.encode(), f"s.{kind}", LIMITS)
    jobs, wrong = validate.to_jobs(rows, KNOWN)
    assert (problems, wrong, len(jobs)) == ((), (), 1)
    CHECK(yaml.load(text, Loader=yaml.BaseLoader) if kind == "yaml" else json.loads(text))


def test_the_short_and_the_full_example_ask_for_the_same() -> None:
    short, full = (
        validate.to_jobs(document.read(text.encode(), "s.yaml", LIMITS)[0], KNOWN)[0][0] for _, text in EXAMPLES[:2]
    )
    assert (short.s3_prefix, short.modalities, short.tasks) == (full.s3_prefix, full.modalities, full.tasks)


def test_every_column_of_the_documentation_is_one() -> None:
    table = DOCS.read_text("utf-8").split("## Columns")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = [
        name if not name.startswith(".") else f"modality0{name}"
        for cell in cells
        for name in re.findall(r"`(.+?)`", cell)
    ]
    assert len(named) > 20
    assert [
        name for name in named if meaning(name.replace("TASK.FIELD", "x.image").replace("FIELD", "image")) is None
    ] == []


@pytest.mark.parametrize("name", ["session.yaml", "session.json"])
def test_the_samples_keep_to_the_schema(name: str) -> None:
    CHECK(yaml.load((SAMPLES / name).read_text("utf-8"), Loader=yaml.BaseLoader))


@pytest.mark.parametrize(
    "change",
    [
        {"modality0": "ECEPHYS"},
        {"job_type": "ephys"},
        {"subjct_id": "12"},
        {"tasks": {"compress_data": {"skip_tsk": True}}},
        {"email_notification_types": ["never"]},
    ],
)
def test_what_is_misspelt_does_not_keep_to_the_schema(change: dict[str, Any]) -> None:
    good = json.loads(EXAMPLES[2][1])
    CHECK(good)
    with pytest.raises(fastjsonschema.JsonSchemaValueException):
        CHECK({**good, **change})
