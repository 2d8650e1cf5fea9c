"""Be told by mail when a job begins and when it has ended, and tell somebody else about another one."""

import sys

from submitting import one_job, submit


def main(service: str, folder: str) -> None:
    mine = one_job(folder, "655020")
    theirs = one_job(folder, "655021", user_email="bo@example.org", email_notification_types=["fail"])
    print(*submit(service, mine, theirs, email_notification_types=["begin", "end"]), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
