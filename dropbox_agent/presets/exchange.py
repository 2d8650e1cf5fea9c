"""Compare and copy job types between a folder and a Parameter Store."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dropbox_agent.errors import AgentError, WrongUse
from dropbox_agent.model import JobType, Presets
from dropbox_agent.presets.store import ADVANCED_BYTES, Parameter, Store, about_of, as_parameters, as_text


@dataclass(frozen=True)
class Difference:
    """One parameter that is not the same in the folder and in the store."""

    name: str
    here: str | None
    """Its value in the folder; None when it is only in the store."""
    there: str | None
    """Its value in the store; None when it is only in the folder."""
    secure: bool = False

    def lines(self) -> list[str]:
        """Return it for a terminal: its name, then which lines of its value differ."""
        sign = "+" if self.there is None else "-" if self.here is None else "~"
        if self.secure:
            return [f"{sign} {self.name} (SecureString: its value is not shown)"]
        there, here = (self.there or "").splitlines(), (self.here or "").splitlines()
        changed = difflib.unified_diff(there, here, lineterm="", n=1)
        return [f"{sign} {self.name}", *(f"    {line}" for line in list(changed)[2:] if not line.startswith("@@"))]


def differences(here: Presets, there: Sequence[Parameter]) -> list[Difference]:
    """Return what is not the same in the folder (``here``) and in the store, by name; how a value is written is not."""
    own = {one.name: one.value for one in as_parameters(here)}
    stored = {one.name: one for one in there}
    found = []
    for name in sorted({*own, *stored}):
        one = stored.get(name)
        value = None if one is None else normal(one.value or "")
        if own.get(name) != value:
            found.append(Difference(name, own.get(name), value, one is not None and one.secure))
    return found


def normal(value: str) -> str:
    """Return a parameter's value as ``as_text`` writes it; what is no JSON object stays as it is."""
    try:
        fields = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return as_text(fields) if isinstance(fields, dict) else value


def push(store: Store, here: Presets, there: Sequence[Parameter], delete: bool) -> Iterator[str]:
    """Write to the store what differs in the folder; yield a line for each parameter. Raises AgentError, WrongUse.

    What is only in the store stays there, unless ``delete``. What is a SecureString is never replaced.
    """
    _refuse_broken(here)
    changes = [one for one in differences(here, there) if one.here is not None or delete]
    too_long = [one.name for one in changes if len((one.here or "").encode()) > ADVANCED_BYTES]
    secure = [one.name for one in changes if one.secure]
    if too_long:
        raise WrongUse(
            f"Longer than the {ADVANCED_BYTES} bytes a parameter may have: {', '.join(too_long)}. Nothing was written."
        )
    if secure:
        raise WrongUse(f"SecureString in the store, which is not replaced: {', '.join(secure)}. Nothing was written.")
    for one in changes:
        if one.here is None:
            store.delete(one.name)
            yield f"deleted {one.name}"
        else:
            store.write(one.name, one.here)
            yield f"{'made' if one.there is None else 'replaced'} {one.name}"


def pull(there: Presets, folder: Path, overwrite: bool) -> Iterator[str]:
    """Write each job type of the store as a file; yield a line for each. Raises AgentError, WrongUse."""
    _refuse_broken(there)
    texts = {f"{name}.yaml": as_yaml(job_type) for name, job_type in sorted(there.job_types.items())}
    other = [name for name, text in texts.items() if (folder / name).exists() and _read(folder / name) != text]
    if other and not overwrite:
        raise WrongUse(
            f"{folder} has others of that name: {', '.join(other)}. Nothing was written; --overwrite replaces them."
        )
    for name, text in texts.items():
        if _read(folder / name) != text:
            _write(folder / name, text)
            yield f"{'replaced' if name in other else 'made'} {name}"


def as_yaml(job_type: JobType) -> str:
    """Return a job type as its file has it."""
    tasks: dict[str, Any] = {}
    for (task_id, modality), fields in job_type.tasks.items():
        if modality is None:
            tasks[task_id] = _plain(fields)
        else:
            tasks.setdefault(task_id, {})[modality] = _plain(fields)
    given = {**about_of(job_type), **({"tasks": tasks} if tasks else {})}
    return yaml.dump(given, Dumper=_Blocks, sort_keys=False, allow_unicode=True, width=110) if given else "tasks:\n"


class _Blocks(yaml.SafeDumper):
    """Writes texts of several lines as blocks, so that scripts can be read, and never an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text and not any(line.endswith(" ") for line in text.splitlines()) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Blocks.add_representer(str, _text)


def _plain(value: Any) -> Any:
    return json.loads(as_text(value)) if isinstance(value, Mapping) else value


def _refuse_broken(presets: Presets) -> None:
    if presets.broken:
        reasons = " ".join(reason for _, reason in sorted(presets.broken.items()))
        raise WrongUse(f"Nothing was written, because what cannot be used is not copied: {reasons}")


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _write(file: Path, text: str) -> None:
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(file)
    except OSError as error:
        raise AgentError(
            f"{file} could not be written: {error.strerror}. What stands above this was written."
        ) from error
