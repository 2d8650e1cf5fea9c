"""Run one built-in task in this process, and leave its outcome and its progress in the attempt's folder.

An array task is run once for each element, with its number, and once without one to bring it to its end.
Exit codes: 0 succeeded or skipped, 1 failed, 2 called with something that is no task or no settings file.
"""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from dropbox_agent.errors import TaskFailed, TaskSkipped
from dropbox_agent.model import RunFolder, TaskOutcome, TaskSettings
from dropbox_agent.tasks import (
    check_metadata_files,
    check_s3_folder_exists,
    check_source_folders_exist,
    compress_data,
    copy_derivatives_folder,
    create_staging_folder,
    gather_final_metadata,
    gather_preliminary_metadata,
    register_data_asset_to_codeocean,
    remove_source_folders,
    remove_staging_folder,
    run_codeocean_pipeline,
    update_docdb_record,
    upload_data_to_s3,
)
from dropbox_agent.tasks.away import is_away
from dropbox_agent.tasks.progress import Progress
from dropbox_agent.tasks.records import write_json

TASKS: Mapping[str, Callable[[TaskSettings, Progress], TaskOutcome]] = {
    "check_s3_folder_exists": check_s3_folder_exists.run,
    "check_source_folders_exist": check_source_folders_exist.run,
    "create_staging_folder": create_staging_folder.run,
    "gather_preliminary_metadata": gather_preliminary_metadata.run,
    "compress_data": compress_data.run,
    "copy_derivatives_folder": copy_derivatives_folder.run,
    "gather_final_metadata": gather_final_metadata.run,
    "check_metadata_files": check_metadata_files.run,
    "upload_data_to_s3": upload_data_to_s3.run,
    "register_data_asset_to_codeocean": register_data_asset_to_codeocean.run,
    "update_docdb_record": update_docdb_record.run,
    "run_codeocean_pipeline": run_codeocean_pipeline.run,
    "remove_staging_folder": remove_staging_folder.run,
    "remove_source_folders": remove_source_folders.run,
}


class Stopped(BaseException):
    """Somebody asked this process to end."""


def main(argv: Sequence[str]) -> int:
    """Run the task that is named and return the exit code."""
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    if len(argv) not in (2, 3) or argv[0] not in TASKS or not all(map(str.isdigit, argv[2:])):
        usage = "python -m dropbox_agent.tasks NAME SETTINGS.json [ELEMENT]"
        print(f"Usage: {usage}, where NAME is one of: {', '.join(TASKS)}")
        return 2
    try:
        settings = TaskSettings.model_validate_json(Path(argv[1]).read_bytes())
    except (OSError, ValidationError) as error:
        print(f"The settings file {argv[1]} cannot be used: {error}")
        return 2
    attempt = RunFolder(settings.run_folder).attempt(settings.attempt_key)
    progress, record = attempt.progress(settings.key), attempt.outcome(settings.key)
    if len(argv) == 3:
        settings = settings.model_copy(update={"element": int(argv[2])})
        progress, record = attempt.element(argv[2], "progress.json"), attempt.element(argv[2], "outcome.json")
    outcome = _outcome(argv[0], settings, Progress(progress))
    print(f"{argv[0]} {outcome.state}: {outcome.message}")
    return _record(record, outcome)


def _outcome(name: str, settings: TaskSettings, progress: Progress) -> TaskOutcome:
    try:
        signal.signal(signal.SIGTERM, _stop)
        outcome = TASKS[name](settings, progress)
    except TaskSkipped as skipped:
        outcome = TaskOutcome(state="skipped", message=str(skipped))
    except TaskFailed as failed:
        outcome = TaskOutcome(state="failed", message=str(failed), facts=_facts(failed.passes))
    except Stopped:
        outcome = TaskOutcome(state="failed", message=f"{name} was cancelled: it was told to stop before it was done.")
    except Exception as error:
        traceback.print_exc(file=sys.stdout)
        passes = isinstance(error, OSError) and is_away(error)
        outcome = TaskOutcome(state="failed", message=_unexpected(name, error), facts=_facts(passes))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    progress.flush()
    return outcome


def _facts(passes: bool) -> dict[str, object]:
    return {"passes": True} if passes else {}


def _stop(_number: int, _frame: object) -> None:
    # Once is enough: a second signal must not interrupt the tidying up.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped


def _unexpected(name: str, error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        place = f" ({error.filename!r})" if error.filename else ""
        return (
            f"{name} could not go on: {error.strerror}{place}. Nothing of yours was changed; its log has the details."
        )
    return f"{name} met something it was not made for ({type(error).__name__}); its log tells the operator what."


def _record(path: Path, outcome: TaskOutcome) -> int:
    try:
        write_json(path, outcome.model_dump())
    except OSError as error:
        print(f"The outcome could not be written to {path}: {error.strerror}.")
        return 1
    return 1 if outcome.state == "failed" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
