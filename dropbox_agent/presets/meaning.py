"""What the values of a job type mean, and what is wrong with them, wherever they are stored."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from dropbox_agent import plan
from dropbox_agent.model import JobType, Retry, Task
from dropbox_agent.wording import nearest
from dropbox_agent.yaml_lines import Document
from dropbox_agent.yaml_lines import Path as KeyPath

KEYS = ("description", "inherits", "retries", "tasks")


@dataclass
class Reading:
    """One file on its way to a job type; what is wrong is noted in the document."""

    document: Document
    task_ids: Mapping[str, str]
    modalities: Collection[str]

    def job_type(self, name: str) -> JobType:
        """Return the job type; only good when the document has no findings."""
        top = self.group((), self.document.value)
        for key in top:
            if key not in KEYS:
                self.document.tell((key,), f"{key} is not known here{instead(key, KEYS)}")
        return self.about(name, top, dict(self.tasks(self.group(("tasks",), top.get("tasks")))))

    def about(
        self, name: str, top: Mapping[str, Any], tasks: Mapping[tuple[str, str | None], Mapping[str, Any]]
    ) -> JobType:
        """Return the job type that has these tasks, and all else it is from the top of its file."""
        description, inherits = self.text("description", top) or "", self.text("inherits", top)
        return JobType(name, description, inherits, tasks, self.retries(self.group(("retries",), top.get("retries"))))

    def retries(self, given: Mapping[str, Any]) -> Mapping[str, Retry]:
        """Return what is run again by itself, checked."""
        found, faults = plan.read_retries(given)
        for path, words in faults:
            self.document.tell(("retries", *path), words)
        return found

    def text(self, key: str, top: Mapping[str, Any]) -> str | None:
        """Return the text at a key of the file, or None."""
        value = top.get(key)
        if value is None or isinstance(value, str):
            return value
        self.document.tell((key,), f"{key} is {plan.kind(value)}; write text, in quotes if need be")
        return None

    def group(self, path: KeyPath, value: Any) -> Mapping[str, Any]:
        """Return the group at a path; an empty one when it is none."""
        if isinstance(value, dict):
            return value
        if value is not None:
            what = ".".join(map(str, path)) or "the file"
            self.document.tell(path, f"{what} is {plan.kind(value)}; a group of names and values is needed")
        return {}

    def tasks(self, given: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str | None], Mapping[str, Any]]]:
        """Yield (task_id, modality) and fields of every task."""
        seen: dict[str, str] = {}
        for name, value in given.items():
            path = ("tasks", name)
            task_id = self.task_ids.get(name)
            if task_id is None:
                self.document.tell(path, f"{name} is not a task{instead(name, self.task_ids)}")
            elif task_id in seen:
                self.document.tell(path, f"{name} and {seen[task_id]} are the same task; keep one")
            else:
                seen[task_id] = name
                yield from self.one_task(path, task_id, self.group(path, value))

    def one_task(
        self, path: KeyPath, task_id: str, given: Mapping[str, Any]
    ) -> Iterator[tuple[tuple[str, str | None], Mapping[str, Any]]]:
        """Yield the fields of one task, or those it has for each modality."""
        if task_id not in plan.BY_MODALITY or plan.is_task(given):
            yield (task_id, None), self.fields(path, task_id, given)
            return
        for modality, value in given.items():
            here = (*path, modality)
            if modality not in self.modalities:
                known = [*self.modalities, *plan.TASK_FIELDS]
                words = f"{modality} is neither a modality nor a field of a task{instead(modality, known)}"
                self.document.tell(here, words)
            else:
                yield (task_id, modality), self.fields(here, task_id, self.group(here, value))

    def fields(self, path: KeyPath, task_id: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the fields a task sets, checked."""
        for name in set(given) - plan.TASK_FIELDS:
            words = f"{name} is not a field of a task{instead(name, plan.TASK_FIELDS)}"
            self.document.tell((*path, name), words)
        try:
            task = Task.model_validate({name: value for name, value in given.items() if name in plan.TASK_FIELDS})
        except ValidationError as error:
            for one in error.errors():
                self.document.tell((*path, *one["loc"]), _field_in_words(one))
            return {}
        for fault in plan.preset_script_faults(task_id, task.command_script):
            self.document.tell((*path, "command_script"), f"the command_script of {task_id}: {fault}")
        for asked in plan.resource_problems(task.image_resources or {}):
            if not asked.passed_over:
                self.document.tell((*path, "image_resources", asked.name), f"{asked.name} {asked.words}")
        return task.model_dump(exclude_unset=True)


def _field_in_words(error: Any) -> str:
    name = ".".join(map(str, error["loc"]))
    wanted = {"string_type": "text, in quotes if need be", "dict_type": "a group of names and values"}
    if error["type"] in ("bool_parsing", "bool_type"):
        return f"{name} is {error['input']!r}; write true or false"
    what = wanted.get(error["type"])
    return f"{name} is {plan.kind(error['input'])}; write {what}" if what else f"{name}: {error['msg']}"


def instead(word: str, known: Collection[str]) -> str:
    """Return what may have been meant, as the end of a sentence."""
    near = nearest(word, sorted(known))
    return f"; did you mean {near}?" if near else f"; known are {', '.join(sorted(known))}"
