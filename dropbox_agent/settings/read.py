"""Find the settings file, read it, let the environment override it, and say everything that is wrong at once."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource
from pydantic_settings import SettingsError as UnreadableVariable

from dropbox_agent import yaml_lines
from dropbox_agent.errors import SettingsError
from dropbox_agent.settings import services
from dropbox_agent.settings.sections import ENVIRONMENT_PREFIX, PACKAGED_DEFAULTS, Settings, section_in
from dropbox_agent.wording import cut, nearest
from dropbox_agent.yaml_lines import Document, Finding, Unreadable
from dropbox_agent.yaml_lines import Path as KeyPath

CONFIG_VARIABLE = ENVIRONMENT_PREFIX + "CONFIG"
NOT_SETTINGS = frozenset({CONFIG_VARIABLE, ENVIRONMENT_PREFIX + "ATTEMPT"})
"""Variables with our prefix that are no settings: the file's name, and what the executors tell a task."""
IN_THIS_FOLDER = Path("config/agent.yaml")
SHOWN_CHARACTERS = 60

SECRET_NAMES = ("sha256",)
"""Settings whose values are never shown."""


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Return the checked settings, every path absolute; SettingsError names all that is wrong.

    Without a path: the file ``DROPBOX_AGENT_CONFIG`` names, else ``config/agent.yaml`` in the current folder, else
    the packaged defaults. Variables ``DROPBOX_AGENT_SECTION__NAME`` win over the file.
    """
    file = path or _file_meant(environ)
    document = _read(file) if file else Document()
    reading = _Reading(document, [finding._replace(words=f"{finding.words}.") for finding in document.findings])
    tree = reading.overridden(reading.section(), environ)
    known = reading.known_names(tree, Settings, ())
    folder = file.absolute().parent if file else Path.cwd()
    settings = reading.checked(known, folder, file)
    if settings is None or reading.findings:
        raise SettingsError(file or PACKAGED_DEFAULTS, reading.words())
    return settings


# --- where from ------------------------------------------------------------------------------------------------------


def _file_meant(environ: Mapping[str, str]) -> Path | None:
    named = environ.get(CONFIG_VARIABLE)
    if named:
        return Path(os.path.expanduser(named))
    return IN_THIS_FOLDER if IN_THIS_FOLDER.is_file() else None


def _read(file: Path) -> Document:
    try:
        return yaml_lines.read(file.read_bytes(), typed=True)
    except Unreadable as wrong:
        return Document(findings=[wrong.finding])
    except OSError as error:
        raise SettingsError(file, (f"the file cannot be read: {error.strerror}.",)) from None


# --- what is wrong ---------------------------------------------------------------------------------------------------


@dataclass
class _Reading:
    """One reading of the settings: where each value was written, and what is wrong so far."""

    document: Document
    """What the file holds."""
    findings: list[Finding]
    variables: dict[KeyPath, str] = field(default_factory=dict)
    """Which values came from which environment variable."""

    def found(self, path: KeyPath, text: str) -> None:
        """Note what is wrong at a path, with the line or variable it was written in."""
        parts = [path[:length] for length in range(len(path), -1, -1)]
        variable = next((self.variables[part] for part in parts if part in self.variables), None)
        line = 0 if variable else self.document.line_of(path)
        self.findings.append(Finding(path, line, f"{variable}: {text}" if variable else text))

    def words(self) -> tuple[str, ...]:
        """Return every finding once, in the order of the file, the environment last."""
        in_order = sorted(self.findings, key=lambda finding: finding.line or sys.maxsize)
        return tuple(dict.fromkeys(map(str, in_order)))

    def section(self) -> dict[str, Any]:
        """Return the file's content when it is a mapping."""
        value = self.document.value
        if isinstance(value, dict):
            return value
        if self.document.lines:
            self.found((), f"{_shown(value)} stands where settings are needed; write NAME: VALUE lines.")
        return {}

    # --- environment -------------------------------------------------------------------------------------------------

    def overridden(self, tree: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
        """Return the tree with the environment's values in it."""
        for name, value in sorted(environ.items()):
            if name.upper().startswith(ENVIRONMENT_PREFIX) and name.upper() not in NOT_SETTINGS:
                for part, above in self._variable(name, value).items():
                    tree = {**tree, part: self._merged(tree.get(part), above, (part,), name)}
        return tree

    def _variable(self, name: str, value: str) -> dict[str, Any]:
        source = EnvSettingsSource(Settings)
        source.env_vars = {name.lower(): value}
        try:
            found = source()
        except (UnreadableVariable, ValueError):
            text = f'{_shown(value)} is not JSON; lists and sections are written as JSON, for example ["one", "two"].'
            self.findings.append(Finding((), 0, f"{name}: {text}"))
            return {}
        return found or {name[len(ENVIRONMENT_PREFIX) :].lower().split("__")[0]: value}

    def _merged(self, below: Any, above: Any, path: KeyPath, variable: str) -> Any:
        if not isinstance(above, dict) or not above:
            self.variables[path] = variable
            return None if above == "null" else above
        if not isinstance(below, dict):
            self.variables[path] = variable
            below = {}
        return {**below, **{n: self._merged(below.get(n), part, (*path, n), variable) for n, part in above.items()}}

    # --- names -------------------------------------------------------------------------------------------------------

    def known_names(self, tree: Mapping[str, Any], section: type[BaseModel], path: KeyPath) -> dict[str, Any]:
        """Return the tree without names that are no settings, which are findings."""
        known: dict[str, Any] = {}
        for name, value in tree.items():
            here = (*path, name)
            if name in section.model_fields:
                known.update(self._known_value(name, value, section, here))
            else:
                self.found(here, _unknown(here, section))
        return known

    def _known_value(self, name: str, value: Any, section: type[BaseModel], path: KeyPath) -> dict[str, Any]:
        inner = section_in(section.model_fields[name].annotation)
        if inner is None:
            return {name: value}
        if isinstance(section.model_fields[name].default, tuple):
            return {name: self._known_entries(value, inner, path)}
        if isinstance(section.model_fields[name].default, Mapping):
            return {name: self._known_by_name(value, inner, path)}
        if value is None:
            # "site:" with everything below it commented out.
            return {}
        return {name: self.known_names(value, inner, path) if isinstance(value, dict) else value}

    def _known_entries(self, value: Any, section: type[BaseModel], path: KeyPath) -> Any:
        if not isinstance(value, list):
            return value
        entries = enumerate(value)
        return [self.known_names(v, section, (*path, n)) if isinstance(v, dict) else v for n, v in entries]

    def _known_by_name(self, value: Any, section: type[BaseModel], path: KeyPath) -> Any:
        if not isinstance(value, dict):
            return {} if value is None else value
        return {k: self.known_names(v, section, (*path, k)) if isinstance(v, dict) else v for k, v in value.items()}

    # --- values ------------------------------------------------------------------------------------------------------

    def checked(self, tree: Mapping[str, Any], folder: Path, file: Path | None) -> Settings | None:
        """Return the settings the tree makes, None when a value is wrong."""
        try:
            settings = Settings(**tree).below(folder, file and file.absolute())
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                path = _written(detail["loc"], tree)
                self.found(path, f"{_where(path)}: {_wrong(detail)}")
            return None
        for path, text in (*_clashes(settings), *_open_doors(settings)):
            self.found(path, text)
        return settings


# --- words -----------------------------------------------------------------------------------------------------------


def _unknown(path: KeyPath, section: type[BaseModel]) -> str:
    name = _where(path)
    return f"{name} is not a setting. {_instead(str(path[-1]), section.model_fields, 'Known here')}"


def _instead(found: str, known: Iterable[str], listed_as: str) -> str:
    known = list(known)
    near = nearest(found, known)
    return f"Did you mean {near}?" if near else f"{listed_as}: {', '.join(known)}."


def _wrong(detail: ErrorDetails) -> str:
    """Return what pydantic found as a sentence that says what would be right."""
    found, limits = detail["input"], detail.get("ctx", {})
    kind = detail["type"]
    if kind == "literal_error":
        return f"{_shown(found)} is not known. {_instead(str(found), _choices(limits), 'Known')}"
    if kind == "missing":
        return f"{detail['loc'][-1]} is missing here; it has no default."
    if kind == "value_error":
        # Somebody may have put the secret itself where only its hash belongs.
        shown = "what stands there" if detail["loc"][-1] in SECRET_NAMES else _shown(found)
        return f"{shown} {limits['error']}."
    for beginning, words in WORDS.items():
        if kind.startswith(beginning):
            return f"{_shown(found)} {words.format(**limits)}."
    return f"{_shown(found)}: {detail['msg']}."


WORDS: Mapping[str, str] = {
    "int_": "is not a whole number",
    "float_": "is not a number",
    "finite_number": "is not a finite number",
    "string_": "is not text; put it in quotes",
    "tuple_": 'is not a list; write one line "- value" for each, or [] for none',
    "dict_": "is not a section; write NAME: VALUE lines below it, or {{}} for none",
    "mapping_": "is not a section; write NAME: VALUE lines below it, or {{}} for none",
    "model_": "is not a section; write its settings below it, indented",
    "greater_than_equal": "is too small; {ge:g} or more is needed",
    "greater_than": "is too small; more than {gt:g} is needed",
    "less_than_equal": "is too large; at most {le:g} is allowed",
}
"""How pydantic's error types are said (those that begin like this)."""


def _choices(limits: Mapping[str, Any]) -> list[str]:
    return [choice.strip("'") for choice in str(limits["expected"]).replace(" or ", ", ").split(", ")]


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict | list | tuple):
        return "a list" if not isinstance(value, dict) else "a section"
    text = value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    text = cut(text, SHOWN_CHARACTERS)
    return json.dumps(text, ensure_ascii=False) if isinstance(value, str) else text


# --- details ---------------------------------------------------------------------------------------------------------


def _where(path: KeyPath) -> str:
    """Return a path in words: ``inboxes[0].path``."""
    words = ""
    for part in path:
        words += f"[{part}]" if isinstance(part, int) else f".{part}" if words else part
    return words


def _written(location: Sequence[str | int], tree: Any) -> KeyPath:
    """Return pydantic's location without what only pydantic knows (``[key]``, the branch of a union)."""
    path: list[str | int] = []
    for part in location:
        if isinstance(tree, dict) and part in tree:
            tree = tree[str(part)]
        elif isinstance(tree, list) and isinstance(part, int):
            tree = tree[part]
        else:
            continue
        path.append(part)
    return tuple(path)


def _clashes(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    """Yield what two settings together may not say: whoever can write into an inbox owns what lies in it."""
    if settings.containers.kind == "charliecloud" and settings.containers.images is None:
        yield ("containers",), "containers.images: charliecloud fetches no images; set the folder they are in."
    inboxes = [inbox.path for inbox in settings.inboxes]
    for number, inbox in enumerate(inboxes):
        if inbox in inboxes[:number]:
            yield ("inboxes", number, "path"), f"inboxes[{number}].path: {inbox} is watched already, by another entry."
    if (settings.executor.kind, settings.executor.via, settings.executor.url) == ("slurm", "rest", None):
        words = "executor.url: via: rest needs to know where slurmrestd listens; write http://host:port or unix:/path."
        yield ("executor", "via"), words
    yield from services.faults(settings)
    for path, folder in _own_folders(settings):
        for inbox in inboxes:
            if folder == inbox or inbox in folder.parents:
                yield path, f"{_where(path)}: {folder} lies in the inbox {inbox}; choose a folder outside it."


def _open_doors(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    """Yield what would let nobody submit, or not say who: whoever submits is known by name."""
    api = settings.api
    if api.submit and not api.tokens and not api.proxy.addresses:
        yield (
            ("api", "submit"),
            "api.submit: nobody could submit. Make a token ('dropbox-agent token NAME' prints the lines for"
            " api.tokens), or name the proxy's addresses (api.proxy.addresses).",
        )
    names = [token.name for token in api.tokens]
    for number, name in enumerate(names):
        if name in names[:number]:
            yield ("api", "tokens", number, "name"), f"api.tokens[{number}].name: another token is called {name} too."


def _own_folders(settings: Settings) -> Iterator[tuple[KeyPath, Path]]:
    yield ("work_dir",), settings.work_dir
    yield ("state_dir",), settings.state_dir
    for name, address in settings.buckets.items():
        if address.startswith("file:"):
            yield ("buckets", name), Path(url2pathname(urlsplit(address).path))
    yield ("presets", "folder"), settings.presets.folder
    if settings.containers.images:
        yield ("containers", "images"), settings.containers.images
    if settings.templates:
        yield ("templates",), settings.templates
