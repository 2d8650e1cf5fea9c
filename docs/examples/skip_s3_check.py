"""Upload a session again although its folder is there already: files are overwritten, none is deleted."""

import sys

from submitting import one_job, submit

from dropbox_agent import Task


def main(service: str, folder: str) -> None:
    job = one_job(folder, "655023", tasks={"check_s3_folder_exists": Task(skip_task=True)})
    print(*submit(service, job), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
