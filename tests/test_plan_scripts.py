"""A preset's shell script: the placeholders are filled, and no value can break out. Run by a real bash."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dropbox_agent import plan

VALUES: Mapping[str, str | None] = {
    "%IMAGE": "ghcr.io/lab/compress",
    "%IMAGE_VERSION": "1.2",
    "%INPUT_SOURCE": "/data/e",
    "%OUTPUT_LOCATION": "/work/out",
    "%S3_LOCATION": "s3://bucket/prefix",
    "%ENV_FILE": "/site/env",
}
UPSTREAM = """#!/bin/bash
# it's upstream's usual one, without its container
printf '%s' ' %JOB_SETTINGS '
"""


def run(script: str, folder: Path) -> str:
    """Run a script as the task does, and return what it printed."""
    file = folder / "script"
    file.write_text(script)
    done = subprocess.run(["bash", str(file)], cwd=folder, capture_output=True, text=True, timeout=20, check=True)
    assert done.stderr == ""
    return done.stdout


def test_every_placeholder_is_filled_and_the_longer_name_wins() -> None:
    template = "%IMAGE:%IMAGE_VERSION %IMAGE_%IMAGE_VERSION %INPUT_SOURCE %OUTPUT_LOCATION %S3_LOCATION/x %ENV_FILE"
    assert plan.render_script(template, VALUES, {}) == (
        "ghcr.io/lab/compress:1.2 ghcr.io/lab/compress_1.2 /data/e /work/out s3://bucket/prefix/x /site/env"
    )


def test_placeholders_in_the_settings_are_filled_too_as_upstream_does() -> None:
    given = {"out": "%OUTPUT_LOCATION/x", "list": ["%S3_LOCATION", {"deep": "%IMAGE"}], "n": 1, "own": "%JOB_SETTINGS"}
    filled = {
        "out": "/work/out/x",
        "list": ["s3://bucket/prefix", {"deep": "ghcr.io/lab/compress"}],
        "n": 1,
        "own": "%JOB_SETTINGS",
    }
    assert plan.render_script("'%JOB_SETTINGS'", VALUES, given) == f"'{json.dumps(filled)}'"


def test_what_was_filled_in_is_never_looked_at_again() -> None:
    given = {"a": "%INPUT_SOURCE"}
    with_name = {**VALUES, "%INPUT_SOURCE": "%IMAGE"}
    assert plan.render_script("'%JOB_SETTINGS'", with_name, given) == """'{"a": "%IMAGE"}'"""


@pytest.mark.parametrize(
    "template",
    ["date +%Y%m%d_%H%M%S", "printf '%s %d %S' a", 'echo "${x%%.*} ${x%.txt}"', "awk '{print 100%3}'", "", "50%"],
)
def test_per_cent_signs_that_are_no_placeholders_stay(template: str) -> None:
    assert plan.script_faults(template) == ()
    assert plan.render_script(template, {}, {}) == template


@pytest.mark.parametrize("unknown", ["%JOB_SETTING", "%IMAGES", "%IMAGE_VERSIONS", "%OUTPUT", "%INPUT_SOURCE_2", "%S3"])
def test_a_placeholder_nobody_knows_is_a_fault(unknown: str) -> None:
    assert plan.script_faults(f"run {unknown}") == (
        f"{unknown} is not a placeholder; those are %JOB_SETTINGS, %IMAGE_VERSION, %IMAGE, %INPUT_SOURCE,"
        " %OUTPUT_LOCATION, %S3_LOCATION, %ENV_FILE",
    )


@pytest.mark.parametrize(
    "template",
    [
        "run '%JOB_SETTINGS'",
        "run --job-settings ' %JOB_SETTINGS '",
        "run '--job-settings=%JOB_SETTINGS'",
        "# don't worry\nrun '%JOB_SETTINGS'",
        'cd "$(dirname "$0")" && run \'%JOB_SETTINGS\'',
        "x=\"it's ${HOME}\"; run '%JOB_SETTINGS'",
        "echo it\\'s; run '%JOB_SETTINGS'",
        "case $x in a) run '%JOB_SETTINGS' ;; esac",
        "run <<< '%JOB_SETTINGS'",
        "run $# ${#x} '%JOB_SETTINGS'",
        "# %JOB_SETTINGS stands below\nrun '%JOB_SETTINGS'",
        "x=$(run '%JOB_SETTINGS')",
    ],
)
def test_settings_alone_in_single_quotes_are_accepted(template: str) -> None:
    assert plan.script_faults(template) == ()


@pytest.mark.parametrize(
    "template",
    [
        "run %JOB_SETTINGS",
        'run "%JOB_SETTINGS"',
        "run \"'%JOB_SETTINGS'\"",
        "run $'%JOB_SETTINGS'",
        "run '' %JOB_SETTINGS ''",
        "run '%JOB_SETTINGS",
        "cat <<EOF\n'%JOB_SETTINGS'\nEOF",
        "cat <<EOF\nit's\nEOF\nrun %JOB_SETTINGS '",
        "x=`run '%JOB_SETTINGS'`",
        "bash -c 'run %JOB_SETTINGS'",
        "bash -c 'run \"%JOB_SETTINGS\"'",
        'x="$(run " \'%JOB_SETTINGS\' ")"',
        'x="${y:-"\'%JOB_SETTINGS\'"}"',
        "echo it\\'s '%JOB_SETTINGS\\''",
    ],
)
def test_settings_a_shell_would_read_are_a_fault(template: str) -> None:
    assert plan.script_faults(template) == (
        "%JOB_SETTINGS must stand alone inside single quotes, without here-documents (<<) or backticks",
    )


@pytest.mark.parametrize(
    "value",
    [
        "/a b",
        "/a;id",
        "/a$(id)",
        "/a`id`",
        "/a'",
        '/a"',
        "/a\nid",
        "/a|id",
        "/ä",
        "-rf",
        "/a*",
        "/a\\b",
        "/a#b",
        "~",
        "",
    ],
)
def test_a_value_that_means_something_to_a_shell_is_refused(value: str) -> None:
    with pytest.raises(plan.Unrenderable):
        plan.render_script("cp %INPUT_SOURCE", {**VALUES, "%INPUT_SOURCE": value}, {})


def test_a_value_that_is_not_used_may_be_anything() -> None:
    assert plan.render_script("cp x", {"%INPUT_SOURCE": "/a b; id"}, {}) == "cp x"


def test_settings_that_use_a_placeholder_without_value_are_refused() -> None:
    with pytest.raises(plan.Unrenderable, match="there is no value for %ENV_FILE"):
        plan.render_script("'%JOB_SETTINGS'", {}, {"file": "%ENV_FILE"})


HOSTILE = [
    "mouse's cage; touch pwned #",
    "$(touch pwned)",
    "`touch pwned`",
    "'; touch pwned; '",
    "\\'; touch pwned; \\'",
    "line\ntouch pwned\n",
    '"; touch pwned; "',
    "${IFS}!!\u2028\x00\x7f\\",
    "ümläut 😀",
]


@pytest.mark.parametrize("template", [UPSTREAM, "printf '%s' \"$(printf '%s' '%JOB_SETTINGS')\""])
def test_no_setting_breaks_out_of_its_quotes_in_a_real_shell(tmp_path: Path, template: str) -> None:
    given = {text: [text, {"deep": text}] for text in HOSTILE}
    assert plan.script_faults(template) == ()
    assert json.loads(run(plan.render_script(template, VALUES, given), tmp_path)) == given
    assert [path.name for path in tmp_path.iterdir()] == ["script"]


TEXTS = st.text(
    st.sampled_from("ab'\"`$\\\n(){};&|<>#!%~* \x00ü😀") | st.characters(exclude_categories=["Cs"]), max_size=12
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(TEXTS, TEXTS | st.integers() | st.none() | st.lists(TEXTS), max_size=4))
def test_any_settings_arrive_as_they_are(tmp_path_factory: pytest.TempPathFactory, given: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("shell")
    script = plan.render_script(UPSTREAM, {}, given) if not uses_placeholder(given) else None
    if script is not None:
        assert json.loads(run(script, folder)) == given
        assert [path.name for path in folder.iterdir()] == ["script"]


def uses_placeholder(given: dict[str, Any]) -> bool:
    return any(name in json.dumps(given, ensure_ascii=False) for name in VALUES)
