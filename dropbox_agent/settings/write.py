"""Write the settings down: as a file for operators, as a page of the documentation, as a new workspace."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dropbox_agent.errors import AgentError, SettingsError
from dropbox_agent.settings.packaged import packaged
from dropbox_agent.settings.sections import ENVIRONMENT_PREFIX, Inbox, Presets, Settings, job_types_shipped, section_in

EXAMPLE_HEADING = (
    """\
Every setting of dropbox-agent with its default. What is left out has the value shown here.
A relative path starts in the folder of this file; ~ is the home folder of the agent's user.
"""
    + f"The environment wins over this file: {ENVIRONMENT_PREFIX}WEB__PORT=8080 is web.port."
)
WORKSPACE_HEADING = """\
The settings of this workspace; docs/settings.md says more about each.
Every path is written in full, so the agent can be started from anywhere.
"""
COMMENT_WIDTH = 110
BUCKETS = ("default", "private", "open")


def write_workspace(folder: Path) -> Path:
    """Make a workspace in a missing or empty folder; return its settings file, which names every path in full."""
    folder = folder.expanduser().absolute()
    _refuse_unless_empty(folder)
    settings = _workspace_settings(folder)
    try:
        for inner in ("inbox", "work", "state", *(f"buckets/{name}" for name in BUCKETS)):
            (folder / inner).mkdir(parents=True, exist_ok=True)
        shutil.copytree(packaged("config", "job_types"), folder / "job_types")
        file = folder / "agent.yaml"
        file.write_text(as_yaml(settings, WORKSPACE_HEADING), encoding="utf-8")
    except OSError as error:
        raise AgentError(
            f"Could not make the workspace {folder}: {error.filename}: {error.strerror}. What was made of it is left"
            " there; remove it before you try again."
        ) from error
    return file


def as_yaml(settings: Settings, heading: str = EXAMPLE_HEADING) -> str:
    """Return the settings as agent.yaml has them: every setting, its sentence above it."""
    lines = [f"# {line}" for line in heading.strip().splitlines()]
    for name, setting in Settings.model_fields.items():
        lines += ["", *_entry(name, setting, getattr(settings, name), "")]
    return "\n".join(lines) + "\n"


def as_markdown() -> str:
    """Return docs/settings.md: every setting with its default and its sentence, made from the model."""
    return "\n".join([*MARKDOWN_HEADING.splitlines(), *_table_rows(Settings, "")]) + "\n"


MARKDOWN_HEADING = f"""\
# Settings

Made from `dropbox_agent/settings/` by `make docs`; a test says when it is not current.

The file is the one given with `--config`, else the one `{ENVIRONMENT_PREFIX}CONFIG` names, else `config/agent.yaml`
in the current folder, else these defaults. What a file leaves out has its default. Relative paths start in the folder
of the file (without a file: in the current folder), wherever they are written; `~` is the home folder.

Each setting is also an environment variable, which wins over the file: `web.port` is `{ENVIRONMENT_PREFIX}WEB__PORT`.
Lists and mappings are written there as JSON; `null` is nothing.

Everything is checked before anything starts: unknown names, wrong values and keys given twice are said all at once,
each with its line.

| setting | default | what it is |
|---|---|---|"""


# --- workspace -------------------------------------------------------------------------------------------------------


def _refuse_unless_empty(folder: Path) -> None:
    try:
        str(folder).encode("utf-8")
        full = any(folder.iterdir())
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise SettingsError(
            folder, ("this is not a folder; init makes a workspace in a missing or empty one.",)
        ) from None
    except UnicodeEncodeError:
        raise SettingsError(repr(str(folder)), ("this name is not UTF-8; choose another one.",)) from None
    except OSError as error:
        raise AgentError(f"Could not look into {folder}: {error.strerror}.") from error
    if full:
        raise SettingsError(folder, ("this folder is not empty; init makes a workspace in a missing or empty one.",))


def _workspace_settings(folder: Path) -> Settings:
    return Settings(
        inboxes=(Inbox(path=folder / "inbox"),),
        work_dir=folder / "work",
        state_dir=folder / "state",
        presets=Presets(folder=folder / "job_types"),
        buckets={name: (folder / "buckets" / name).as_uri() for name in BUCKETS},
    )


# --- YAML ------------------------------------------------------------------------------------------------------------


def _entry(name: str, setting: FieldInfo, value: Any, indent: str) -> Iterator[str]:
    """Yield the lines of one setting: its sentence, then ``name: value``."""
    for line in textwrap.wrap(setting.description or "", COMMENT_WIDTH):
        yield f"{indent}# {line}"
    if isinstance(value, BaseModel):
        yield f"{indent}{name}:"
        yield from _section(value, indent + "  ")
    elif isinstance(value, tuple) and value and all(isinstance(part, BaseModel) for part in value):
        yield f"{indent}{name}:"
        for part in value:
            yield from _list_item(part, indent + "  ")
    elif isinstance(value, Mapping) and value:
        yield f"{indent}{name}:"
        yield from (f"{indent}  {_plain(key)}: {_plain(part)}" for key, part in value.items())
    else:
        yield f"{indent}{name}: {_plain(value)}"


def _section(section: BaseModel, indent: str) -> Iterator[str]:
    for name, setting in type(section).model_fields.items():
        yield from _entry(name, setting, getattr(section, name), indent)


def _list_item(section: BaseModel, indent: str) -> Iterator[str]:
    """Yield a section as one item of a list; the comments of its first setting stand above the dash."""
    dash = "- "
    for line in _section(section, ""):
        if line.startswith("#") and dash == "- ":
            yield f"{indent}{line}"
        else:
            yield f"{indent}{dash}{line}"
            dash = "  "


def _plain(value: Any) -> str:
    """Return one value on one line."""
    if isinstance(value, Path):
        # The shipped job types lie elsewhere on every machine; null means them.
        value = None if value == job_types_shipped() else str(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, tuple):
        return f"[{', '.join(_plain(part) for part in value)}]"
    if isinstance(value, Mapping):
        return "{}"
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=sys.maxsize)
    return text.removesuffix("\n").removesuffix("\n...")


# --- Markdown --------------------------------------------------------------------------------------------------------


def _table_rows(section: type[BaseModel], above: str) -> Iterator[str]:
    for name, setting in section.model_fields.items():
        inner = section_in(setting.annotation)
        if inner is None:
            yield f"| `{above}{name}` | {_default(setting)} | {setting.description} |"
        else:
            many = (
                "[]" if isinstance(setting.default, tuple) else ".NAME" if isinstance(setting.default, Mapping) else ""
            )
            yield f"| `{above}{name}` | | {setting.description} |"
            yield from _table_rows(inner, f"{above}{name}{many}.")


def _default(setting: FieldInfo) -> str:
    if setting.is_required():
        return "required"
    value = setting.get_default(call_default_factory=True)
    if isinstance(value, Mapping) and value:
        return "<br>".join(f"`{key}: {part}`" for key, part in value.items())
    return f"`{_plain(value)}`"
