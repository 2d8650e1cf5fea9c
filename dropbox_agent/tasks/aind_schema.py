"""Ask aind-data-schema, in a process of its own: it is slow to import, and it reads the environment and the arguments.

``ask`` starts ``python -I -m dropbox_agent.tasks.aind_schema`` with a clean environment; the question goes to its
standard input as JSON, the answer comes back from its standard output.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from dropbox_agent.errors import TaskFailed

TIMEOUT_SECONDS = 300


def is_installed() -> bool:
    """Return whether the extra ``metadata`` is installed."""
    return importlib.util.find_spec("aind_data_schema") is not None


def ask(question: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer: ``value``, or ``error`` with what the schema objects to."""
    argv = [sys.executable, "-I", "-W", "ignore", "-m", "dropbox_agent.tasks.aind_schema"]
    asked = json.dumps({"question": question, "about": about}, default=str)
    try:
        done = subprocess.run(
            argv, input=asked, capture_output=True, text=True, encoding="utf-8", cwd="/",
            env={"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"}, timeout=TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise TaskFailed(f"aind-data-schema did not answer within {TIMEOUT_SECONDS} s; retry the job.") from error
    print(done.stderr, end="")
    try:
        answer = json.loads(done.stdout)
    except ValueError as error:
        raise TaskFailed(
            f"aind-data-schema ended with exit code {done.returncode} and gave no answer; the log has what it said."
        ) from error
    return answer if isinstance(answer, dict) else {"error": "the answer was no object"}


# --- in the process of its own ---------------------------------------------------------------------------------------


def data_description(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return a data_description: raw data, named after subject and time as the schema does it."""
    from datetime import datetime

    from aind_data_schema.core.data_description import DataDescription

    given = dict(about)
    created = datetime.fromisoformat(given.pop("creation_time"))
    # A time without a zone is this machine's: its wall clock is what the asset is named after.
    given["creation_time"] = created if created.tzinfo else created.astimezone()
    given["institution"] = _organization(given["institution"])
    given["funding_source"] = [_funding(one) for one in _as_list(given["funding_source"])]
    given["investigators"] = [_person(one) for one in _as_list(given["investigators"])]
    given["modalities"] = [_modality(one) for one in given["modalities"]]
    given.setdefault("data_level", "raw")
    return _plain(DataDescription(**given))


def final_metadata(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the file that holds all core files, the core files in it, and what the schema objects to in them."""
    from aind_data_schema.core.metadata import create_metadata_json
    from aind_data_schema.core.processing import Processing

    core = dict(about["core_jsons"])
    with suppress(ValidationError, KeyError):
        core["processing"] = _plain(Processing.model_validate(core["processing"]))
    whole = create_metadata_json(name=about["name"], location=about["location"], core_jsons=core)
    return {"metadata": whole, "core_jsons": core, "findings": findings(core)}


def findings(about: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return for each core file by its stem what the schema objects to."""
    from aind_data_schema.core.metadata import Metadata
    from pydantic import TypeAdapter

    found: dict[str, list[str]] = {}
    for stem, value in about.items():
        try:
            TypeAdapter(Metadata.model_fields[stem].annotation).validate_python(value)
        except ValidationError as error:
            found[stem] = _said(error)
        except Exception as error:  # its own validators raise whatever they like
            found[stem] = [f"{type(error).__name__}: {error}"]
    return found


QUESTIONS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "data_description": data_description,
    "final_metadata": final_metadata,
    "findings": findings,
}


def _organization(value: Any) -> Any:
    """Return the organization of an abbreviation or a name; anything else is the schema's to judge."""
    from aind_data_schema_models.organizations import Organization

    if not isinstance(value, str):
        return value
    found = Organization.from_abbreviation(value) or Organization.from_name(value)
    if found is None:
        raise ValueError(f'"{value}" is no organization that the schema knows, neither as abbreviation nor as name')
    return found


def _funding(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {**value, "funder": _organization(value.get("funder"))}
    return {"funder": _organization(value)}


def _person(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _modality(value: str) -> Any:
    from aind_data_schema_models.modalities import Modality

    return Modality.abbreviation_map[value]


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _said(error: ValidationError) -> list[str]:
    return [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]


def _plain(model: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(model.model_dump_json(by_alias=True))
    return made


def _answer(asked: Mapping[str, Any]) -> dict[str, Any]:

    try:
        return {"value": QUESTIONS[asked["question"]](asked["about"])}
    except ValidationError as error:
        return {"error": "; ".join(_said(error)[:10])}
    except Exception as error:
        return {"error": f"{error}" or type(error).__name__}


def main() -> None:
    """Answer the one question on standard input; what the schema prints goes to standard error."""
    answer_to, sys.stdout = sys.stdout, sys.stderr
    asked = json.loads(sys.stdin.buffer.read())
    json.dump(_answer(asked), answer_to)


if __name__ == "__main__":
    main()
