"""The templates of a site: a folder of its own replaces the packaged ones file by file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, TemplateRuntimeError

from dropbox_agent.errors import TemplateUnusable
from dropbox_agent.model import Names
from dropbox_agent.report.figures import (
    fraction,
    iso,
    job_progress,
    progress_text,
    ran_text,
    size_text,
    time_text,
    took,
    took_text,
)
from dropbox_agent.report.origins import effective
from dropbox_agent.report.sentences import failed_tasks, where
from dropbox_agent.report.text import clip, file_link, is_web_address, json_text, one_line, value_text

PROGRAM = "dropbox-agent"
SITE: Mapping[str, Any] = {"name": "", "help_url": "", "contact": "", "bug_report_url": "", "job_type_url": ""}
"""What a template may say of the site, when the settings say nothing."""


class Pages:
    """The templates of a site: the first folder that has a file wins, so the site's own folder comes first."""

    def __init__(self, folders: Sequence[Path], site: Mapping[str, Any]) -> None:
        self._folders = tuple(folders)
        self._environment = _environment(self._folders, _named({**SITE, **site}))

    def page(self, template: str, **facts: Any) -> str:
        """Return a filled template. Raises TemplateUnusable, which names file and line."""
        try:
            return _encodable(self._template(template).render(facts))
        # A site's template can fail in any way, and none of them may stop the service.
        except Exception as error:
            raise self._unusable(template, error) from error

    def block(self, template: str, block: str, **facts: Any) -> str:
        """Return one filled ``{% block %}`` of a template."""
        try:
            found = self._template(template)
            if block not in found.blocks:
                raise TemplateRuntimeError(f'it has no block "{block}"')
            return _encodable("".join(found.blocks[block](found.new_context(facts))))
        except Exception as error:
            raise self._unusable(template, error) from error

    def _template(self, name: str) -> Template:
        return self._environment.get_template(name)

    def _unusable(self, template: str, error: Exception) -> TemplateUnusable:
        line = getattr(error, "lineno", None)
        file = getattr(error, "filename", None) or f"{template} (looked for in {', '.join(map(str, self._folders))})"
        at = f", line {line}" if line else ""
        return TemplateUnusable(
            f"The template {file}{at} cannot be used: {str(error) or type(error).__name__}."
            " Correct it, or remove it to get the packaged one; it is tried again."
        )


def _named(site: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is said of the site; one that only has the program's own name is not named beside it."""
    return {**site, "name": ""} if site["name"] == PROGRAM else site


def _environment(folders: Iterable[Path], site: Mapping[str, Any]) -> Environment:
    environment = Environment(
        loader=FileSystemLoader([str(folder) for folder in folders]),
        autoescape=_is_html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(
        site=site, failed_tasks=failed_tasks, effective=effective, job_progress=job_progress, ran_text=ran_text
    )
    environment.filters.update(
        as_json=json_text,
        clip=clip,
        file_link=file_link,
        fraction=fraction,
        iso=iso,
        line=one_line,
        order_file=lambda manifest, act: Names(manifest).order(act),
        progress_text=progress_text,
        size=size_text,
        time=time_text,
        took=took,
        took_text=took_text,
        value=value_text,
        web_address=is_web_address,
        where=where,
    )
    return environment


def _is_html(template: str | None) -> bool:
    # Everything is escaped but plain text, where &lt; would be shown as it stands.
    return not (template or "").endswith(".txt.j2")


def _encodable(text: str) -> str:
    """Return the text without lone surrogates (they come from file names that are not UTF-8)."""
    return text.encode("utf-8", "replace").decode()
