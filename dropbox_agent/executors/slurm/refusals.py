"""Why sbatch did not take a job: its words, by what they mean."""

from __future__ import annotations

from dropbox_agent.executors.slurm.jobs import Why

LIMIT_REACHED = ("MaxSubmitJob", "GrpSubmitJob", "SubmitJobsLimit", "SubmitJobLimit")
"""Words of the line before "Job violates accounting/QOS policy" when there are too many jobs, and none is too large."""

MEANINGS: tuple[tuple[Why, tuple[str, ...]], ...] = (
    (Why.FULL, LIMIT_REACHED),
    (
        Why.UNREACHABLE,
        (
            "Unable to contact slurm controller (connect failure)",
            "Resource temporarily unavailable",
            "Connection refused",
            "in standby mode",
            "Could not establish a configuration source",
            "Munge encode failed",
            "Failed to access \"",
            "Invalid authentication credential",
            "Protocol authentication error",
        ),
    ),
    (
        Why.UNSURE,
        (
            "Socket timed out",
            "temporarily unable to accept job",
            "Zero Bytes were transmitted",
            "Unable to contact slurm controller",
            "Message receive failure",
            "Unexpected message received",
            "Transport endpoint is not connected",
            "Connection reset by peer",
        ),
    ),
    (
        Why.NEVER,
        (
            "nvalid partition",
            "nvalid account",
            "nvalid qos",
            "nvalid feature",
            "nvalid preferred feature",
            "not a subset of --constraints",
            "nvalid generic resource",
            "nvalid license",
            "nvalid job array",
            "nvalid wckey",
            "nvalid user id",
            "nvalid node name",
            "nvalid job credential",
            "nvalid job time",
            "nvalid Trackable RESource",
            "reservation is invalid",
            "Access denied to requested reservation",
            "equested node configuration is not available",
            "equested partition configuration not available",
            "ore processors requested than permitted",
            "Node count specification invalid",
            "time limit is invalid",
            "equested time limit",
            "User's group not permitted",
            "Job dependency problem",
            "Job violates accounting/QOS policy",
            "Memory required by task is not available",
            "Access/permission denied",
            "Pathname of a file, directory or other parameter too long",
            "mutually exclusive",
            "This does not look like a batch script",
            "not supported on this cluster",
        ),
    ),
)  # fmt: skip
"""In this order: the first that is found counts."""
COMMANDS = ("sbatch", "squeue", "scancel", "sacct", "sinfo", "sacctmgr")
"""They begin what they complain about with their name."""
BAD_OPTION = 255
"""The exit code of sbatch when it does not know an option or its value."""


def why_refused(exit_code: int, stderr: str) -> Why:
    """Return why sbatch ended like this. What nobody has seen before may have been taken all the same."""
    for why, beginnings in MEANINGS:
        if any(words in stderr for words in beginnings):
            return why
    return Why.NEVER if exit_code == BAD_OPTION else Why.UNSURE


def own_words(stderr: str) -> str:
    """Return what a command of Slurm's complained about, on one line."""
    lines = (line.strip().partition(": ") for line in stderr.splitlines())
    said = (rest if name in COMMANDS else name + colon + rest for name, colon, rest in lines)
    plain = (words.removeprefix("error: ").removeprefix("fatal: ") for words in said)
    return "; ".join(dict.fromkeys(words for words in plain if words))[:500] or "it gave no reason"
