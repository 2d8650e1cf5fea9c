"""Every property of a Slurm job, and the option of sbatch that asks for it: one table, ``PROPERTIES``.

The names are those of slurmrestd's job description (v0.0.40), as upstream's presets have them, and plain short ones.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dropbox_agent.plan import arrays

LONGEST_TEXT = 500
LARGEST_NUMBER = 10**11


class Unfit(Exception):
    """A value that a property does not take; the text says what it does take."""


@dataclass(frozen=True)
class Property:
    """One line of the table."""

    name: str
    option: str | None = None
    """The option of sbatch; None where ``joint`` makes it, or nothing does."""
    reads: Callable[[Any], str | None] | None = None
    """Turns a value into the option's; "" is an option without one, None leaves it out. Raises Unfit."""
    joint: bool = False
    """Its option depends on other properties, or it makes several (``resources.JOINT``)."""
    decided: str | None = None
    """The agent decides this itself: why a value is passed over."""
    refused: str | None = None
    """Why it cannot be asked for."""
    operator: bool = False
    """Only presets may set it, never a manifest."""


# --- kinds of values: what an option takes, as text; Unfit is raised of what it does not take ------------------------


def text(value: Any) -> str:
    """Return text that can be printed; a whole number too, as text."""
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise Unfit("is not text")
    written = whole(value) if isinstance(value, int) else value
    if not written.isprintable() or len(written) > LONGEST_TEXT:
        raise Unfit("has a character that cannot be printed, or is too long")
    return written


def whole(value: Any) -> str:
    """Return a whole number, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_NUMBER:
        raise Unfit("is not a whole number, 0 or more")
    return str(value)


def some(value: Any) -> str:
    """Return a whole number, 1 or more."""
    if whole(value) == "0":
        raise Unfit("is 0; write 1 or more")
    return str(value)


def flag(value: Any) -> str | None:
    """Return an option that stands alone where the value is true, and none where it is false."""
    if not isinstance(value, bool):
        raise Unfit("is neither true nor false")
    return "" if value else None


def unless(value: Any) -> str | None:
    """The option stands for the property being false."""
    return None if flag(value) == "" else ""


def yes_no(value: Any) -> str:
    """Return 1 for true and 0 for false."""
    return "0" if flag(value) is None else "1"


def names(value: Any) -> str:
    """Return a list, or text with commas, as text with commas."""
    return ",".join(text(one) for one in value) if isinstance(value, list) and value else text(value)


def _number(value: Any) -> Any:
    """Return what slurmrestd's ``{set, infinite, number}`` stands for: a number, "infinite", or None for not set."""
    if not isinstance(value, dict):
        return value
    unknown = set(value) - {"set", "infinite", "number"}
    if unknown:
        raise Unfit(f"has {', '.join(sorted(map(str, unknown)))}; only set, infinite and number belong there")
    if value.get("set") is False:
        return None
    if value.get("infinite") is not True and value.get("number") is None:
        raise Unfit("has no number")
    return "infinite" if value.get("infinite") is True else value["number"]


def numbered(reads: Callable[[Any], str | None]) -> Callable[[Any], str | None]:
    """Return a reader that takes slurmrestd's form of a number too."""

    def read(value: Any) -> str | None:
        number = _number(value)
        return None if number is None else reads(number)

    return read


CLOCK = re.compile(r"(\d+-)?\d+(:\d{1,2}){0,2}")


def minutes(value: Any) -> str:
    """Return a length of time: minutes, or what is written with colons, as it stands."""
    if value in ("infinite", "UNLIMITED"):
        return "UNLIMITED"
    if isinstance(value, float) and 0 < value < LARGEST_NUMBER:
        value = math.ceil(value)
    if isinstance(value, str) and CLOCK.fullmatch(value.strip()):
        return value.strip()
    try:
        return some(value)
    except Unfit:
        raise Unfit("is no length of time; write minutes, H:MM:SS or D-HH:MM:SS") from None


SIZE = re.compile(r"(\d+) ?([KMGT]?)B?", re.IGNORECASE)


def megabytes(value: Any) -> str:
    """Return an amount of memory with its unit; a number alone counts megabytes."""
    if isinstance(value, str) and (size := SIZE.fullmatch(value.strip())):
        return f"{size[1]}{size[2].upper() or 'M'}"
    try:
        return f"{whole(value)}M"
    except Unfit:
        raise Unfit("is no amount of memory; write megabytes, or 16G") from None


def moment(value: Any) -> str:
    """Slurm's tools read times on the cluster's own clock, slurmrestd counts seconds since 1970."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(int(whole(value))))


def boot_minutes(value: Any) -> str:
    """Return seconds as minutes, rounded up."""
    return str(math.ceil(int(whole(value)) / 60))


TRES = re.compile(r"gres[:/]([A-Za-z0-9_.-]+)(?:[:/]([A-Za-z0-9_.-]+))?[:=](\d+)")


def gres(value: Any) -> str:
    """``gres:gpu:a100:2``, ``gres/gpu=2`` or ``gpu:2`` -> what --gres takes."""
    found = TRES.fullmatch(text(value))
    return ":".join(part for part in found.groups() if part) if found else text(value).removeprefix("gres:")


def gpus(value: Any) -> str:
    """``gres:gpu:2`` -> ``2``: where the option counts GPUs and nothing else."""
    found = TRES.fullmatch(text(value))
    if found is None or found[1] != "gpu":
        raise Unfit("is not of the form gres:gpu:2")
    return ":".join(part for part in found.groups()[1:] if part)


def memory_of_gpu(value: Any) -> str:
    """``gres:gpu:4000`` -> ``4000M``: the memory of each GPU."""
    return f"{gpus(value)}M"


def elements(value: Any) -> str:
    """Return the elements of an array as --array takes them."""
    try:
        return str(arrays.read(value))
    except arrays.NoArray as wrong:
        raise Unfit(str(wrong)) from None


MAIL_TYPES = ("NONE", "BEGIN", "END", "FAIL", "REQUEUE", "ALL", "INVALID_DEPEND", "STAGE_OUT", "ARRAY_TASKS",
              "TIME_LIMIT", "TIME_LIMIT_90", "TIME_LIMIT_80", "TIME_LIMIT_50")  # fmt: skip


def mail_types(value: Any) -> str:
    """Return the names of occasions that Slurm mails about; ``TIME=90%`` is ``TIME_LIMIT_90``."""
    wanted = [re.sub(r"^TIME=(\d\d)%$", r"TIME_LIMIT_\1", one.strip().upper()) for one in names(value).split(",")]
    for one in wanted:
        if one not in MAIL_TYPES:
            raise Unfit(f"has {one}; known are {', '.join(MAIL_TYPES)}")
    return ",".join(wanted)


# --- the table --------------------------------------------------------------------------------------------------------

SERVER = "belongs to Slurm itself, or to other kinds of jobs"
NO_OPTION = "has no option of sbatch that would ask for it"
LATER = "is not in this version; take it out"
OURS = "is decided by this service"

PROPERTIES: tuple[Property, ...] = (
    # Short names.
    Property("cpus", "--cpus-per-task", some),
    Property("memory", "--mem", megabytes),
    Property("time", "--time", minutes),
    Property("gres", "--gres", gres),
    Property("gpus", "--gpus", text),
    Property("ntasks", "--ntasks", some),
    Property("constraint", "--constraint", text),
    Property("nodelist", "--nodelist", names),
    Property("exclude", "--exclude", names),
    Property("tmp", "--tmp", megabytes),
    # slurmrestd's, in its order.
    Property("account", "--account", text),
    Property("account_gather_frequency", "--acctg-freq", text),
    Property("admin_comment", refused=SERVER),
    Property("allocation_node_list", refused=SERVER),
    Property("allocation_node_port", refused=SERVER),
    Property("argv", refused="is decided by the preset's command_script; set that"),
    Property("array", "--array", elements),
    Property("batch_features", "--batch", text),
    Property("begin_time", "--begin", numbered(moment)),
    Property("flags", joint=True),
    Property("burst_buffer", "--bb", text),
    Property("clusters", refused=LATER),
    Property("cluster_constraint", "--cluster-constraint", text),
    Property("comment", decided=OURS),
    Property("contiguous", "--contiguous", flag),
    Property("container", "--container", text),
    Property("container_id", refused=SERVER),
    Property("cores_per_socket", "--cores-per-socket", some),
    Property("core_specification", "--core-spec", whole),
    Property("thread_specification", "--thread-spec", whole),
    Property("cpu_binding", refused=SERVER),
    Property("cpu_binding_flags", refused=SERVER),
    Property("cpu_frequency", "--cpu-freq", text),
    Property("cpus_per_tres", "--cpus-per-gpu", gpus),
    Property("crontab", refused=SERVER),
    Property("deadline", "--deadline", moment),
    Property("delay_boot", "--delay-boot", boot_minutes),
    Property("dependency", refused="is decided by the plan: what a task waits for is in the pipeline"),
    Property("end_time", refused=SERVER),
    Property("environment", joint=True),
    Property("rlimits", decided=OURS),
    Property("excluded_nodes", "--exclude", names),
    Property("extra", refused=SERVER),
    Property("constraints", "--constraint", text),
    Property("group_id", refused="is decided by who runs this service"),
    Property("hetjob_group", refused=SERVER),
    Property("immediate", refused=SERVER),
    Property("job_id", refused=SERVER),
    Property("kill_on_node_fail", "--no-kill", unless),
    Property("licenses", "--licenses", text),
    Property("mail_type", "--mail-type", mail_types),
    Property("mail_user", "--mail-user", text),
    Property("mcs_label", "--mcs-label", text),
    Property("memory_binding", refused=SERVER),
    Property("memory_binding_type", refused=SERVER),
    Property("memory_per_tres", "--mem-per-gpu", memory_of_gpu),
    Property("name", decided=OURS),
    Property("network", "--network", text),
    Property("nice", "--nice", whole),
    Property("tasks", "--ntasks", some),
    Property("open_mode", decided=OURS),
    Property("reserve_ports", refused=SERVER),
    Property("overcommit", "--overcommit", flag),
    Property("partition", "--partition", text),
    Property("distribution_plane_size", refused=NO_OPTION),
    Property("power_flags", refused=SERVER),
    Property("prefer", "--prefer", text),
    Property("hold", refused="is for operators: scontrol hold JOBID"),
    Property("priority", "--priority", numbered(whole), operator=True),
    Property("profile", "--profile", names),
    Property("qos", "--qos", text),
    Property("reboot", "--reboot", flag, operator=True),
    Property("required_nodes", "--nodelist", names),
    Property("requeue", decided="is decided by this service: nothing is run a second time unasked"),
    Property("reservation", "--reservation", text),
    Property("script", refused="is decided by the preset's command_script; set that"),
    Property("shared", joint=True),
    Property("exclusive", joint=True),
    Property("oversubscribe", "--oversubscribe", flag),
    Property("site_factor", refused=SERVER),
    Property("spank_environment", refused=SERVER),
    Property("distribution", "--distribution", text),
    Property("time_limit", "--time", numbered(minutes)),
    Property("time_minimum", "--time-min", numbered(minutes)),
    Property("tres_bind", "--gpu-bind", text),
    Property("tres_freq", "--gpu-freq", text),
    Property("tres_per_job", "--gpus", gpus),
    Property("tres_per_node", "--gres", gres),
    Property("tres_per_socket", "--gpus-per-socket", gpus),
    Property("tres_per_task", "--gpus-per-task", gpus),
    Property("user_id", refused="is decided by who runs this service"),
    Property("wait_all_nodes", "--wait-all-nodes", yes_no),
    Property("kill_warning_flags", refused=LATER),
    Property("kill_warning_signal", refused=LATER),
    Property("kill_warning_delay", refused=LATER),
    Property("current_working_directory", joint=True, operator=True),
    Property("cpus_per_task", "--cpus-per-task", some),
    Property("minimum_cpus", joint=True),
    Property("maximum_cpus", refused=NO_OPTION),
    Property("nodes", joint=True),
    Property("minimum_nodes", joint=True),
    Property("maximum_nodes", joint=True),
    Property("minimum_boards_per_node", refused=NO_OPTION),
    Property("minimum_sockets_per_board", refused=NO_OPTION),
    Property("sockets_per_node", "--sockets-per-node", some),
    Property("threads_per_core", "--threads-per-core", some),
    Property("tasks_per_node", "--ntasks-per-node", some),
    Property("tasks_per_socket", "--ntasks-per-socket", some),
    Property("tasks_per_core", "--ntasks-per-core", some),
    Property("tasks_per_board", refused=NO_OPTION),
    Property("ntasks_per_tres", "--ntasks-per-gpu", some),
    Property("minimum_cpus_per_node", "--mincpus", some),
    Property("memory_per_cpu", "--mem-per-cpu", numbered(megabytes)),
    Property("memory_per_node", "--mem", numbered(megabytes)),
    Property("temporary_disk_per_node", "--tmp", megabytes),
    Property("selinux_context", refused=SERVER),
    Property("required_switches", joint=True),
    Property("standard_error", joint=True, operator=True),
    Property("standard_input", "--input", text),
    Property("standard_output", joint=True, operator=True),
    Property("wait_for_switch", joint=True),
    Property("wckey", "--wckey", text),
    Property("x11", refused=SERVER),
    Property("x11_magic_cookie", refused=SERVER),
    Property("x11_target_host", refused=SERVER),
    Property("x11_target_port", refused=SERVER),
)
BY_NAME: Mapping[str, Property] = {known.name: known for known in PROPERTIES}
