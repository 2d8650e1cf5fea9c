"""Follow a job to its end: print every change, and the log of the task that failed.

python follow.py SERVICE JOB_ID
"""

import sys
import time

import httpx

ENDED = ("succeeded", "failed", "cancelled")


def main(service: str, job_id: str) -> None:
    seen = {}
    while True:
        answer = httpx.get(f"{service}/api/jobs/{job_id}", timeout=60)
        # Until its manifest has settled, a job that was submitted is known by its id only.
        job = answer.json() if answer.status_code == 200 else {"state": "settling", "tasks": []}
        for task in job["tasks"]:
            key = f"{task['task_id']}[{task['modality']}]" if task["modality"] else task["task_id"]
            if seen.get(key) != task["state"]:
                seen[key] = task["state"]
                print(f"{key}: {task['state']}")
        if job["state"] in ENDED:
            break
        time.sleep(1)
    print(f"{job_id}: {job['state']}")
    for key in (key for key, state in seen.items() if state == "failed"):
        print(httpx.get(f"{service}/api/jobs/{job_id}/tasks/{key}/log", timeout=60).json().get("log", ""))


if __name__ == "__main__":
    main(*sys.argv[1:])
