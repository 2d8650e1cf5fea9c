"""Rows become jobs: every check of what a row says, and every problem at once. Pure: it looks at nothing outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dropbox_agent.model import Job, Known, Level, Place, Problem, Row, readable
from dropbox_agent.validate import fields, task_settings
from dropbox_agent.validate.check import MOST_PROBLEMS_OF_ROW, Check, Enough, Wrong
from dropbox_agent.validate.twins import tell_twins

__all__ = ["PLATFORMS", "known_names", "to_jobs"]

PLATFORMS = (
    *("behavior", "confocal", "ecephys", "exaSPIM", "FIP", "HCR", "HSFP", "ISI", "MERFISH", "MRI", "mesoSPIM"),
    *("motor-observatory", "multiplane-ophys", "SLAP2", "single-plane-ophys", "SmartSPIM"),
)
"""The platforms of assets; aind-data-schema-models left them out in its version 6, the names of assets did not."""
MOST_PROBLEMS = 500
"""Told of one file; looking for more would cost time and help nobody."""


def to_jobs(rows: Sequence[Row], known: Known) -> tuple[tuple[Job, ...], tuple[Problem, ...]]:
    """Return the jobs the rows ask for, and every problem found.

    A row with an error yields no job, unless only the outside world objects to it.
    """
    checks, unchecked = _checks(rows, known)
    tell_twins(checks)
    jobs = tuple(job for check in checks if (job := check.job()) is not None)
    found = [problem for check in checks for problem in check.problems]
    return jobs, (*readable(found, MOST_PROBLEMS + MOST_PROBLEMS_OF_ROW + len(checks)), *unchecked)


def known_names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the platforms and modalities that exist."""
    from aind_data_schema_models.modalities import Modality  # takes its time, so not before it is needed

    return PLATFORMS, tuple(sorted(Modality.abbreviation_map, key=str.casefold))


def _checks(rows: Sequence[Row], known: Known) -> tuple[list[Check], list[Problem]]:
    """Return the checked rows; a file so full of errors that not all rows are checked is refused for that."""
    checks: list[Check] = []
    errors = 0
    for row in rows:
        if errors >= MOST_PROBLEMS:
            message = (
                f"There are {MOST_PROBLEMS} problems or more, and {len(rows) - len(checks)} rows were not looked at."
            )
            return checks, [Problem(Level.ERROR, Place(row.place.file), f"{message} Put the first ones right.")]
        checks.append(_checked(row, known))
        errors += sum(problem.level is Level.ERROR for problem in checks[-1].problems)
    return checks, []


def _checked(row: Row, known: Known) -> Check:
    """Return the row with every field checked; a field that is wrong has no value."""
    check = Check(row, known)
    checks: Mapping[str, Callable[[Check], Any]] = {
        "job_type": fields.job_type,
        "project_name": fields.project,
        "subject_id": fields.subject,
        "acq_datetime": fields.acquired,
        "platform": fields.platform,
        "modalities": fields.modalities,
        "bucket": fields.bucket,
        "user_email": fields.email,
        "email_types": fields.email_types,
        "tasks": task_settings.tasks,
    }
    try:
        for name, of_row in checks.items():
            _keep(check, name, of_row)
        fields.compare_prefix(check)
    except Enough:
        message = (
            f"There are {MOST_PROBLEMS_OF_ROW} problems or more here, and no more are looked for. Put these right."
        )
        check.problems.append(Problem(Level.ERROR, row.place, message))
    return check


def _keep(check: Check, name: str, of_row: Callable[[Check], Any]) -> None:
    try:
        check.values[name] = of_row(check)
    except Wrong as wrong:
        check.tell(wrong)
