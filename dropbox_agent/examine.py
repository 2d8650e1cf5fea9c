"""Say what would be done with a manifest: read, validate, expand, judge. Changes nothing, anywhere.

``agent`` records what this returns; ``dropbox-agent check`` prints it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from dropbox_agent import manifest, plan, policy, presets, validate
from dropbox_agent.ledger import Reader
from dropbox_agent.model import Job, Known, Level, Place, Plan, Presets, Problem, Row, counted
from dropbox_agent.patience import Places
from dropbox_agent.remembered import Answer
from dropbox_agent.wording import shown

EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
CHECK = "check_s3_folder_exists"
"""The task that keeps an upload from being done twice; force_cloud_sync skips it."""
LINE_SUFFIXES = (".yaml", ".yml", ".json")
"""Manifests whose places are lines."""
MOST_LETTERS = 9
"""More than the letters of any column (XFD is Excel's last)."""
SIBLINGS = 200
"""How many names beside a missing folder are looked at for a suggestion."""


@dataclass(frozen=True)
class Examination:
    """What a manifest asks for, and everything that is wrong with it."""

    rows: tuple[Row, ...]
    jobs: tuple[tuple[Job, Plan], ...]
    """The well-formed jobs with their plans, also those that only the outside world objects to."""
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that refuse a row or the file."""
        return tuple(problem for problem in self.problems if problem.level is Level.ERROR)

    def acceptable(self) -> tuple[tuple[Job, Plan], ...]:
        """Return the jobs without any error in their row; none when the file as a whole is wrong."""
        wrong = {problem.place.row for problem in self.errors}
        if None in wrong:
            return ()
        return tuple((job, plan) for job, plan in self.jobs if not wrong & _lines_of(job.row))

    def addresses(self) -> tuple[str, ...]:
        """Return the e-mail addresses that stand in the manifest, well formed, each once."""
        found = (str(row.entry.get("user_email") or "").strip() for row in self.rows)
        return tuple(dict.fromkeys(address for address in found if EMAIL.fullmatch(address)))


@dataclass(frozen=True)
class Examiner:
    """A site's rules, against which manifests are examined. Presets are read anew each time: they may change."""

    load_presets: Callable[[], Presets]
    buckets: Mapping[str, str]
    """Name -> address."""
    projects: tuple[str, ...]
    rules: policy.Rules
    more_projects: Callable[[], Answer] | None = None
    """Asks for the names of more projects; None: there are no others."""
    default_email: str | None = None
    env_file: str | None = None
    containers: plan.Containers = plan.NO_CONTAINERS
    services: tuple[plan.Service, ...] = ()
    """The services this site has; tasks that need another are skipped."""
    upstream: bool = False
    """compat: upstream. Manifests are read as upstream reads them, with a warning for each difference."""
    read: Callable[[Path, str], manifest.Found] = manifest.read
    """How a manifest becomes rows; an agent has a warm ``manifest.Room`` for it."""
    places: Places = field(default_factory=lambda: Places(None))
    """How long the shares that manifests name are waited for."""

    def examine(self, path: Path, name: str, now: datetime) -> Examination:
        """Return what the manifest at ``path``, called ``name``, asks for, and all its problems."""
        found = self.judge_form(path, name, now)
        problems = list(found.problems)
        look = _each_once(self.look_at)
        for job, made in found.jobs:
            problems += policy.check(job, made, self.rules, look)
        # The folders of a row that is wrong otherwise are looked at too: all problems at once.
        judged = {id(job.row) for job, _ in found.jobs}
        for row in (row for row in found.rows if id(row) not in judged):
            problems += policy.check_folders(row, plan.folders_of(row, self.rules.path_map), self.rules, look)
        return Examination(found.rows, found.jobs, _quoted(_in_order(problems), path, name))

    def judge_form(self, path: Path, name: str, now: datetime) -> Examination:
        """Return the same without looking at any folder or asking what manifests may set: form and known names."""
        rows, unreadable = self.read(path, name)
        stored = self.load_presets()
        jobs, invalid = validate.to_jobs(rows, self.known(stored, now))
        problems = [*unreadable, *_besides(unreadable, invalid)]
        planned = []
        for job in jobs:
            made, clashes = plan.expand(
                job,
                stored,
                self.buckets,
                self.rules.path_map,
                env_file=self.env_file,
                source_removal=self.rules.source_removal,
                site_containers=self.containers,
                services=self.services,
            )
            problems += clashes
            if made is not None:
                problems += _images_not_there(job, made, self.containers)
                planned.append((job, made))
        problems += _same_places(planned)
        return Examination(rows, tuple(planned), _quoted(_in_order(problems), path, name))

    def look_at(self, text: str) -> policy.SourceFacts:
        """Return what this machine says of a folder named in a manifest. Raises NoAnswer when its share hangs."""
        return self.places.ask(text, lambda: look_at_folder(text))

    def known(self, stored: Presets, now: datetime) -> Known:
        """Return what a manifest may name."""
        platforms, modalities = validate.known_names()
        return Known(
            job_types=tuple(stored.job_types),
            broken_job_types=stored.broken,
            projects=self._all_projects(),
            platforms=platforms,
            modalities=modalities,
            buckets=tuple(self.buckets),
            task_ids=plan.task_ids(),
            default_email=self.default_email,
            now=now,
            upstream=self.upstream,
        )

    def _all_projects(self) -> tuple[str, ...]:
        more = () if self.more_projects is None else self.more_projects().value
        return tuple(dict.fromkeys((*self.projects, *more)))


def _each_once(look: policy.Look) -> policy.Look:
    """Return what looks at each folder once: the rows of a manifest name the same ones, and the site has its own."""
    seen: dict[str, policy.SourceFacts] = {}

    def remembered(text: str) -> policy.SourceFacts:
        if text not in seen:
            seen[text] = look(text)
        return seen[text]

    return remembered


def presets_in(folder: Path) -> Callable[[], Presets]:
    """Return what loads the presets of a folder."""

    def load() -> Presets:
        _, modalities = validate.known_names()
        return presets.load_folder(folder, plan.task_ids(), modalities)

    return load


def presets_of(prefix: str, remembered: Callable[[], Answer]) -> Callable[[], Presets]:
    """Return what loads the presets of a Parameter Store, or those it had when it answered last."""

    def load() -> Presets:
        answer = remembered()
        return replace(presets_from(prefix, answer.value), trouble=answer.trouble)

    return load


def presets_from(prefix: str, parameters: Sequence[Mapping[str, Any]]) -> Presets:
    """Return the job types that parameters hold."""
    _, modalities = validate.known_names()
    return presets.load_parameters(
        prefix, (presets.Parameter(**one) for one in parameters), plan.task_ids(), modalities
    )


def look_at_folder(text: str) -> policy.SourceFacts:
    """Return what this machine says of a folder named in a manifest; never raises."""
    try:
        facts = os.stat(text)
        real = os.path.realpath(text)
    except (OSError, ValueError):
        return _missing(text)
    is_dir = stat.S_ISDIR(facts.st_mode)
    return policy.SourceFacts(
        exists=True,
        is_dir=is_dir,
        readable=os.access(text, os.R_OK | (os.X_OK if is_dir else 0)),
        real=real,
        owner=facts.st_uid,
        mode=facts.st_mode,
        siblings=(),
    )


def with_claims(examination: Examination, ledger: Reader) -> Examination:
    """Add a problem to each job whose asset another job uploads now, or has uploaded already."""
    problems = [found for job, made in examination.jobs if (found := _claimed(job, made, ledger)) is not None]
    return Examination(examination.rows, examination.jobs, (*problems, *examination.problems))


def _claimed(job: Job, made: Plan, ledger: Reader) -> Problem | None:
    """Decision: one live job per asset. What was uploaded is uploaded again only when that is asked for."""
    if (live := ledger.live_job_at(made.location)) is not None:
        message = f"{job.s3_prefix} is being uploaded now, for {live} (job {live.job_id}). Wait until it has ended."
        return Problem(Level.ERROR, job.row.place, message, found=job.s3_prefix, outside=True)
    if (before := ledger.uploaded_by(made.location)) is None:
        return None
    asked_for = any(task.task_id == CHECK and task.skip is not None for task in made.tasks)
    message = f"{job.s3_prefix} was uploaded on {before.ended:%Y-%m-%d}, for {before} (job {before.job_id})."
    again = "It is uploaded again, as this row asks." if asked_for else "Set force_cloud_sync to upload it again."
    level = Level.WARNING if asked_for else Level.ERROR
    return Problem(level, job.row.place, f"{message} {again}", found=job.s3_prefix, outside=True)


def _images_not_there(job: Job, made: Plan, site: plan.Containers) -> list[Problem]:
    """Return a problem for each image that is not in the site's folder, where this machine sees that folder."""
    if site.images is None or not site.images.is_dir():
        return []
    tasks = {task.key: task.settings for task in made.tasks if task.skip is None}
    missing = {key: image for key, image in plan.images_of(tasks, site).items() if not image.exists()}
    return [_image_not_there(job, key, image) for key, image in missing.items()]


def _image_not_there(job: Job, key: str, image: Path) -> Problem:
    return Problem(
        Level.ERROR,
        job.row.place_of("job_type"),
        f"The script of {key} is run in an image that is not there: {image}. Ask whoever looks after this service.",
        found=job.job_type,
        outside=True,
    )


def _same_places(planned: Sequence[tuple[Job, Plan]]) -> list[Problem]:
    """Return a problem for each job that goes where another one of the file goes, through another bucket's name."""
    by_place: dict[str, list[Job]] = {}
    for job, made in planned:
        by_place.setdefault(made.location, []).append(job)
    return [
        _same_place(job, twins[1] if job is twins[0] else twins[0])
        for twins in by_place.values()
        for job in (twins if len(twins) > 1 else ())
    ]


def _same_place(job: Job, other: Job) -> Problem:
    return Problem(
        Level.ERROR,
        job.row.place_of("s3_bucket"),
        f'Row {other.row.place.row} is the same upload: "{job.bucket}" and "{other.bucket}" are names of one bucket '
        "here. Take one of the two rows out.",
        found=job.bucket,
        outside=True,
    )


def _missing(text: str) -> policy.SourceFacts:
    return policy.SourceFacts(
        exists=False, is_dir=False, readable=False, real=text, owner=-1, mode=0, siblings=_names_beside(text)
    )


def _names_beside(text: str) -> tuple[str, ...]:
    try:
        with os.scandir(os.path.dirname(text)) as entries:
            return tuple(entry.name for _, entry in zip(range(SIBLINGS), entries, strict=False))
    except (OSError, ValueError):
        return ()


def _quoted(problems: Sequence[Problem], path: Path, name: str) -> tuple[Problem, ...]:
    """Return the problems of a YAML or JSON file, each with the line it is about; those of tables as they are."""
    if not problems or not name.lower().endswith(LINE_SUFFIXES):
        return tuple(problems)
    with path.open("rb") as file:
        lines = file.read(manifest.LIMITS.text_bytes).decode("utf-8", "replace").split("\n")
    rows = [problem.place.row or 0 for problem in problems]
    found = [shown(lines[row - 1].rstrip()) if 0 < row <= len(lines) else None for row in rows]
    return tuple(replace(problem, line=line or None) for problem, line in zip(problems, found, strict=True))


def _besides(unreadable: Sequence[Problem], invalid: Sequence[Problem]) -> Iterator[Problem]:
    """Return what is wrong besides cells and keys that could not be read: that their values are wrong is no news."""
    told = {problem.place for problem in unreadable if problem.level is Level.ERROR and problem.place.column}
    return (problem for problem in invalid if problem.place not in told)


def _lines_of(row: Row) -> set[int | None]:
    return {row.place.row, *(place.row for place in row.places.values())}


def _in_order(problems: Sequence[Problem]) -> list[Problem]:
    """Errors first, then by place as one reads, each once; of many warnings alike the first ones, and how many."""
    once = counted(tuple(dict.fromkeys(problems)))
    return sorted(once, key=lambda p: (p.level is not Level.ERROR, p.place.row or 0, _across(p.place)))


def _across(place: Place) -> tuple[int, str, str]:
    """Where a place stands in its row: cells from left to right (``Z7`` before ``AA7``), then what has no cell."""
    letters = (place.cell or "").rstrip("0123456789")
    return (len(letters) or MOST_LETTERS, letters, place.column or "")


def as_json(examination: Examination) -> dict[str, Any]:
    """Return the examination as ``check --json`` prints it."""
    return {
        "ok": not examination.errors,
        "jobs": [
            {
                "s3_prefix": job.s3_prefix,
                "bucket": job.bucket,
                "job_type": job.job_type,
                "plan": plan_as_json(made),
            }
            for job, made in examination.jobs
        ],
        "problems": [problem.as_json() for problem in examination.problems],
    }


def plan_as_json(made: Plan) -> list[dict[str, Any]]:
    """Return the tasks of a plan in order, each with its effective settings and where each value comes from."""
    return [_task_as_json(task) for task in made.tasks]


def _task_as_json(task: Any) -> dict[str, Any]:
    return {
        "key": task.key,
        "task_id": task.task_id,
        "modality": task.modality,
        "needs": list(task.needs),
        "skip": task.skip,
        "allocation": task.allocation,
        "settings": dict(task.settings),
        "origin": dict(task.origin),
    }
