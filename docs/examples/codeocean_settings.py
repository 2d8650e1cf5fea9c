"""Run a Code Ocean pipeline on what was uploaded; at a site without Code Ocean the step is skipped and says so."""

import sys

from submitting import one_job, submit

from dropbox_agent import Task


def main(service: str, folder: str) -> None:
    pipeline = Task(
        job_settings={
            "pipeline_monitor_settings": {
                "run_params": {"pipeline_id": "8a1d4e9c-0000-0000-0000-000000000000"},
                "capture_settings": {"tags": ["sorted", "ecephys"]},
            }
        }
    )
    job = one_job(folder, "655024", tasks={"codeocean_pipeline_settings": {"ecephys": pipeline}})
    print(*submit(service, job), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
