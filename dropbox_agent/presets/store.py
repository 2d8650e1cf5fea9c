"""The job types in an AWS Parameter Store: one parameter for each task, named as upstream names them.

``PREFIX/v2/JOB_TYPE/tasks/TASK`` and ``PREFIX/v2/JOB_TYPE/tasks/TASK/MODALITY``; the value is the task as JSON. What a
file has and upstream has not (description, inherits, retries) is in ``PREFIX/v2/JOB_TYPE/about``, which it passes over.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dropbox_agent import plan
from dropbox_agent.errors import AgentError
from dropbox_agent.model import JobType, Presets, Retry
from dropbox_agent.presets.folder import JOB_TYPE
from dropbox_agent.presets.meaning import KEYS, Reading, instead
from dropbox_agent.presets.together import Stored, together
from dropbox_agent.yaml_lines import Document
from dropbox_agent.yaml_lines import Path as KeyPath

if TYPE_CHECKING:
    from botocore.client import BaseClient

ABOUT = "about"
TASKS = "tasks"
TRIES = 5
ANSWER_SECONDS = 10
STANDARD_BYTES = 4096
ADVANCED_BYTES = 8192
"""The longest values of the two tiers; AWS asks money for the second."""
GRANTS = {
    "read": "ssm:GetParametersByPath (and kms:Decrypt for SecureString)",
    "write": "ssm:PutParameter and ssm:DeleteParameter",
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of the store."""

    name: str
    """Below ``PREFIX/v2``: ``ecephys/tasks/compress_data``."""
    value: str | None
    """None for a SecureString that was remembered: its value is kept nowhere."""
    secure: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"name": self.name, "value": self.value, "secure": self.secure}


def to_keep(parameters: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return parameters as they may be written to a file: a secure one without its value."""
    return [{**one, "value": None if one["secure"] else one["value"]} for one in parameters]


@dataclass(frozen=True)
class Store:
    """A tree of parameters, and how it is reached. Who may read it stands in the environment or in AWS's own files."""

    prefix: str
    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None

    def __str__(self) -> str:
        return f"the Parameter Store below {self.prefix}/v2"

    def read(self) -> list[Parameter]:
        """Return every parameter, page by page. Raises AgentError."""
        root = f"{self.prefix}/v2/"
        found = []
        with _asking("read", f"The Parameter Store below {self.prefix}/v2"):
            pages = self._client.get_paginator("get_parameters_by_path")
            for page in pages.paginate(Path=root.rstrip("/"), Recursive=True, WithDecryption=True):
                for one in page["Parameters"]:
                    secure = one.get("Type") == "SecureString"
                    found.append(Parameter(one["Name"].removeprefix(root), one["Value"], secure))
        return sorted(found, key=lambda one: one.name)

    def write(self, name: str, value: str) -> None:
        """Make or replace one parameter; what is a SecureString stays one. Raises AgentError."""
        tier = "Standard" if len(value.encode()) <= STANDARD_BYTES else "Advanced"
        full = f"{self.prefix}/v2/{name}"
        with _asking("write", f"The parameter {full}"):
            self._client.put_parameter(Name=full, Value=value, Type="String", Overwrite=True, Tier=tier)

    def delete(self, name: str) -> None:
        """Delete one parameter. Raises AgentError."""
        full = f"{self.prefix}/v2/{name}"
        with _asking("write", f"The parameter {full}"):
            self._client.delete_parameter(Name=full)

    @cached_property
    def _client(self) -> BaseClient:
        import boto3  # heavy; sites with files never need it
        from botocore.config import Config

        how = Config(
            retries={"mode": "standard", "max_attempts": TRIES},
            connect_timeout=ANSWER_SECONDS,
            read_timeout=ANSWER_SECONDS,
        )
        session = boto3.Session(profile_name=self.profile, region_name=self.region)
        client: BaseClient = session.client("ssm", endpoint_url=self.endpoint_url, config=how)
        return client


@contextmanager
def _asking(act: str, what: str) -> Iterator[None]:
    """Turn what AWS answers into an AgentError: what was done, with what, what came back."""
    try:
        yield
    except Exception as error:
        done = "read" if act == "read" else "written"
        raise AgentError(f"{what} could not be {done}: {came_back(error, act)}.") from error


def came_back(error: Exception, act: str = "read") -> str:
    """Return what AWS answered, in words, without a full stop."""
    from botocore import exceptions as aws

    if isinstance(error, aws.ClientError):
        told = error.response.get("Error", {})
        code, words = told.get("Code", "?"), " ".join(str(told.get("Message", "")).split())[:200]
        if code in ("AccessDeniedException", "AccessDenied"):
            return f"these credentials may not do it; they need {GRANTS[act]} ({words})"
        if code in ("UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException"):
            return f"AWS does not accept the credentials ({code}: {words})"
        if "Throttl" in code:
            return f"AWS asks to be asked less often, after {TRIES} tries ({code})"
        return f"AWS answered {code}: {words}"
    if isinstance(error, aws.NoCredentialsError | aws.PartialCredentialsError | aws.ProfileNotFound):
        return f"there are no AWS credentials in the environment or in ~/.aws ({error})"
    if isinstance(error, aws.NoRegionError):
        return "no AWS region is known; set presets.region"
    if isinstance(error, aws.ConnectTimeoutError | aws.ReadTimeoutError):
        return f"AWS did not answer within {ANSWER_SECONDS} s, after {TRIES} tries"
    if isinstance(error, aws.EndpointConnectionError | aws.ConnectionClosedError | aws.HTTPClientError):
        return f"AWS cannot be reached ({error})"
    return f"what came back cannot be used ({type(error).__name__}: {error})"


# --- parameters as job types -----------------------------------------------------------------------------------------


def load_parameters(
    prefix: str, parameters: Iterable[Parameter], task_ids: Mapping[str, str], modalities: Collection[str]
) -> Presets:
    """Return the job types that parameters hold. A wrong one stops its own job type only, and those that inherit."""
    by_type: dict[str, list[Parameter]] = {}
    for one in parameters:
        if "/" in one.name:
            by_type.setdefault(one.name.partition("/")[0], []).append(one)
    stored: dict[str, Stored] = {}
    broken: dict[str, str] = {}
    for name, own in by_type.items():
        document = Document()
        job_type = _JobTypeReading(f"{prefix}/v2", name, document, task_ids, modalities).read(own)
        if document.findings:
            broken[name] = " ".join(dict.fromkeys(finding.words for finding in document.findings))
        elif job_type.tasks or any(one.name == f"{name}/{ABOUT}" for one in own):
            stored[name] = Stored(job_type, _sentence(f"{prefix}/v2/{name}"))
    return together(stored, broken)


def _sentence(root: str) -> Any:
    def wrong(path: KeyPath, words: str) -> str:
        parts = path if path and path[0] == TASKS else (ABOUT,)
        names = [str(part) for part in parts[:3] if part not in plan.TASK_FIELDS]
        return f"{root}/{'/'.join(names)}: {words}."

    return wrong


@dataclass(frozen=True)
class _JobTypeReading:
    """The parameters of one job type on their way to it."""

    root: str
    name: str
    document: Document
    task_ids: Mapping[str, str]
    modalities: Collection[str]

    def read(self, parameters: Sequence[Parameter]) -> JobType:
        """Return the job type; only good when the document has no findings."""
        if not JOB_TYPE.fullmatch(self.name):
            self.tell(self.name, "a job type's name has letters, digits, dots, dashes and underscores only")
        about: Mapping[str, Any] = {}
        tasks: dict[tuple[str, str | None], Mapping[str, Any]] = {}
        for one in parameters:
            parts = one.name.split("/")[1:]
            if parts == [ABOUT]:
                about = self.value(one)
            elif parts[0] == TASKS and len(parts) in (2, 3):
                self.add(tasks, one, *parts[1:])
            # Upstream passes over all other names, too.
        return self.whole(about, tasks)

    def whole(self, about: Mapping[str, Any], tasks: Mapping[tuple[str, str | None], Mapping[str, Any]]) -> JobType:
        """Return the job type of these tasks, with what upstream has not."""
        own = Document()
        job_type = Reading(own, self.task_ids, self.modalities).about(self.name, about, tasks)
        for finding in own.findings:
            self.tell(f"{self.name}/{ABOUT}", finding.words)
        if unknown := set(about) - set(KEYS) | set(about) & {TASKS}:
            self.tell(f"{self.name}/{ABOUT}", f"{', '.join(sorted(unknown))} is not known here")
        return job_type

    def add(self, tasks: dict[Any, Any], one: Parameter, task: str, modality: str | None = None) -> None:
        """Note one task among those of the job type."""
        task_id = self.task_ids.get(task)
        if task_id is None:
            self.tell(one.name, f"{task} is not a task{instead(task, self.task_ids)}")
        elif modality is not None and (task_id not in plan.BY_MODALITY or modality not in self.modalities):
            self.tell(one.name, f"{task} has nothing for {modality}{instead(modality, self.modalities)}")
        elif any(other == task_id and (of is None) != (modality is None) for other, of in tasks):
            self.tell(one.name, f"{task} is there for all modalities and for one; keep one kind")
        elif (task_id, modality) in tasks:
            self.tell(one.name, f"{task_id} is there twice, under two of its names; keep one")
        else:
            tasks[task_id, modality] = self.fields(one, task_id)

    def fields(self, one: Parameter, task_id: str) -> Mapping[str, Any]:
        """Return the fields of a task, checked; what is wrong is told with the name of the parameter."""
        own = Document()
        fields = Reading(own, self.task_ids, self.modalities).fields((), task_id, self.value(one))
        for finding in own.findings:
            # The words quote what was found.
            self.tell(
                one.name,
                "a value of it cannot be used; what it is, is not shown (SecureString)"
                if one.secure
                else finding.words,
            )
        return fields

    def value(self, one: Parameter) -> Mapping[str, Any]:
        """Return the group of names and values that a parameter holds."""
        if one.value is None:
            self.tell(one.name, "it is a SecureString, which is kept nowhere: it cannot be used until AWS is back")
            return {}
        try:
            value = json.loads(one.value, object_pairs_hook=_once, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            self.tell(one.name, "its value is not JSON" + ("" if one.secure else f" ({error})"))
            return {}
        if not isinstance(value, dict):
            self.tell(one.name, f"its value is {plan.kind(value)}; a group of names and values is needed")
            return {}
        return value

    def tell(self, name: str, words: str) -> None:
        """Note what is wrong with a parameter."""
        self.document.tell((name,), f"{self.root}/{name}: {words}{'' if words.endswith('?') else '.'}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'"{twice}" is there twice')
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


# --- job types as parameters -----------------------------------------------------------------------------------------


def as_parameters(stored: Presets) -> Iterator[Parameter]:
    """Yield the parameters that hold these job types."""
    for name, job_type in sorted(stored.job_types.items()):
        about = about_of(job_type)
        if about or not job_type.tasks:
            yield Parameter(f"{name}/{ABOUT}", as_text(about))
        for (task_id, modality), fields in sorted(job_type.tasks.items(), key=lambda one: (one[0][0], one[0][1] or "")):
            ending = f"/{modality}" if modality else ""
            yield Parameter(f"{name}/{TASKS}/{task_id}{ending}", as_text(fields))


def about_of(job_type: JobType) -> dict[str, Any]:
    """Return all that a job type is besides its tasks, as its file has it."""
    whole = {
        "description": job_type.description,
        "inherits": job_type.inherits,
        "retries": {cause: _written(retry) for cause, retry in job_type.retries.items()},
    }
    return {key: value for key, value in whole.items() if value}


def _written(retry: Retry) -> dict[str, Any]:
    plain = Retry(retry.times)
    return {key: value for key, value in asdict(retry).items() if key == "times" or value != getattr(plain, key)}


def as_text(fields: Mapping[str, Any]) -> str:
    """Return the value of a parameter: equal fields give the same text."""
    return json.dumps(fields, indent=1, sort_keys=True, ensure_ascii=False, default=dict)
