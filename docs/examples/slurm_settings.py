"""Ask for more memory, processors and time than the job type does (policy.manifests_may_set must allow it)."""

import sys

from submitting import one_job, submit

from dropbox_agent import Task


def main(service: str, folder: str) -> None:
    transformation = Task(
        image_resources={
            "memory_per_cpu": {"set": True, "number": 6000},
            "minimum_cpus_per_node": 6,
            "time_limit": {"set": True, "number": 240},
        },
        job_settings={"input_source": folder},
    )
    job = one_job(folder, "655022", tasks={"modality_transformation_settings": {"ecephys": transformation}})
    print(*submit(service, job), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
