"""The kinds of values settings have: what is taken, and in which words the rest is refused."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

ADDRESS = re.compile(r"[^@\s,;<>\"]+@[^@\s,;<>\"]+")
S3_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
S3_PREFIX_PART = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9._=-]*")
BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
TASK_FIELDS = ("skip_task", "image", "image_version", "image_resources", "job_settings", "command_script")
"""What a manifest may set of a task (the fields of ``model.Task``; a test compares the two)."""


class Section(BaseModel):
    """A part of the settings; unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _no_switch(value: Any) -> Any:
    """Refuse true and false where a number is meant: Python would take them for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("is not a number")
    return value


def _switch(value: Any) -> Any:
    """Take true and false (also as text, from the environment), and nothing that merely looks like it."""
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false")
    return value


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty")
    if any(not character.isprintable() for character in value):
        raise ValueError("contains a control character")
    return value


def _path(value: Any) -> Any:
    """Return the path with its ``~`` replaced; relative ones stay so until the file's own place is known."""
    if isinstance(value, Path):
        return value
    if not isinstance(value, str):
        raise ValueError("is not a path; write it as text, in quotes if need be")
    try:
        return Path(_text(value)).expanduser()
    except RuntimeError:
        raise ValueError("begins with the home folder (~) of somebody unknown here") from None


def _bucket(value: str) -> str:
    """Return ``s3://name/prefix``, ``file:///absolute/folder``, or a relative folder as it is."""
    if value.startswith("s3://"):
        return _s3_bucket(value)
    if not value.startswith("file:"):
        if "://" in value:
            raise ValueError("is not an address this version knows; write s3://bucket or file:///folder")
        folder = _path(value)
        return str(folder) if not folder.is_absolute() else absolute_address(folder)
    parts = urlsplit(value)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/") or parts.query or parts.fragment:
        raise ValueError("is not an address of a folder; write file:///folder with three slashes")
    return absolute_address(Path(_text(unquote(parts.path))))


def _s3_bucket(value: str) -> str:
    name, _, prefix = value.removeprefix("s3://").partition("/")
    if not S3_NAME.fullmatch(name) or ".." in name:
        raise ValueError("does not name a bucket as S3 does; write s3://name, of 3 to 63 a-z, 0-9, dots and dashes")
    parts = prefix.rstrip("/").split("/") if prefix.rstrip("/") else []
    if not all(S3_PREFIX_PART.fullmatch(part) for part in parts):
        raise ValueError("has a prefix of other characters than letters, digits and ._=- between single slashes")
    return "/".join(["s3:/", name, *parts])


def absolute_address(folder: Path) -> str:
    """Return a folder's address as a bucket has it."""
    return Path(os.path.normpath(folder)).as_uri()


def _bucket_name(value: str) -> str:
    if not BUCKET_NAME.fullmatch(value):
        raise ValueError("is not a name for a bucket; use letters, digits, dots, dashes and underscores")
    return value


def _mail_address(value: str) -> str:
    if not ADDRESS.fullmatch(value) or not value.isprintable():
        raise ValueError("is not one e-mail address")
    return value


def _web_address(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s\"<>]+", value):
        raise ValueError("is not a web address; it begins with https:// or http://")
    return value


def _without_password(value: str) -> str:
    if "@" in urlsplit(_web_address(value)).netloc:
        # It would stand in run folders and in sentences.
        raise ValueError("has a name or password in it; keys belong into a profile or a credentials file")
    return value


def _service_address(value: str) -> str:
    parts = urlsplit(_without_password(value))
    if parts.query or parts.fragment:
        raise ValueError("is more than the address of a service; write https://host or https://host/path")
    return value


def _endpoint(value: str) -> str:
    parts = urlsplit(_without_password(value))
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("is more than the address of a server; write https://host:port")
    return value.rstrip("/")


def _rest_address(value: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.\[\]:_-]+(/[^\s?#]*)?|unix:/[^\s/][^\n]*", value):
        raise ValueError("is not where a slurmrestd listens; write http://host:port or unix:/path")
    return value


def _task_field(value: str) -> str:
    first = value.partition(".")[0]
    if first not in TASK_FIELDS or not re.fullmatch(r"[a-z_]+(\.[A-Za-z0-9_-]+)*", value):
        known = ", ".join(TASK_FIELDS)
        raise ValueError(f"is not a field of a task; those are {known} and, inside, image_resources.array")
    return value


def _variable_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValueError("is not the name of an environment variable")
    return value


def _docdb_host(value: str) -> str:
    if not re.fullmatch(r"(https?://)?[A-Za-z0-9.-]+(:\d+)?", value):
        raise ValueError("is not a host; write api.example.org")
    return value


def _parameter_prefix(value: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._-]+)+", value):
        raise ValueError("is not the beginning of a parameter's name; write /name/name, without a slash at the end")
    return value


Switch = Annotated[bool, BeforeValidator(_switch)]
Seconds = Annotated[float, BeforeValidator(_no_switch), Field(gt=0, allow_inf_nan=False)]
Days = Annotated[float, BeforeValidator(_no_switch), Field(ge=0, allow_inf_nan=False)]
Number = Annotated[int, BeforeValidator(_no_switch), Field(ge=1)]
Port = Annotated[int, BeforeValidator(_no_switch), Field(ge=0, le=65535)]
Text = Annotated[str, AfterValidator(_text)]
Folder = Annotated[Path, BeforeValidator(_path)]
FolderText = Annotated[str, BeforeValidator(lambda value: str(_path(value)))]
BucketName = Annotated[str, AfterValidator(_bucket_name)]
BucketAddress = Annotated[str, AfterValidator(_bucket)]
MailAddress = Annotated[str, AfterValidator(_mail_address)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
ServiceAddress = Annotated[str, AfterValidator(_service_address)]
ListAddress = Annotated[str, AfterValidator(_without_password)]
DocDbHost = Annotated[str, AfterValidator(_docdb_host)]
ParameterPrefix = Annotated[str, AfterValidator(_parameter_prefix)]
RestAddress = Annotated[str, AfterValidator(_rest_address)]
VariableName = Annotated[str, AfterValidator(_variable_name)]
"""The name of an environment variable that holds a secret; never the secret itself."""
Endpoint = Annotated[str, AfterValidator(_endpoint)]
TaskField = Annotated[str, AfterValidator(_task_field)]
AllOrSome = Annotated[
    Annotated[Literal["all"], Tag("all")] | Annotated[tuple[TaskField, ...], Tag("some")],
    Discriminator(lambda value: "all" if isinstance(value, str) else "some"),
]
