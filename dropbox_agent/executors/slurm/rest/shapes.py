"""What a job asks for, as v0.0.40 and later take it: named as in ``image_resources``, in slurmrestd's own types."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from dropbox_agent.plan import properties


def as_types(resources: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties of a job description that ask for the resources. What is unfit is left out."""
    found: dict[str, Any] = {}
    for name, value in resources.items():
        if value is None or value == {} or name not in SHAPES:
            continue
        try:
            written = SHAPES[name](value)
        except properties.Unfit:
            written = None
        if written is not None:
            found[FULL_NAMES.get(name, name)] = written
    return found


FULL_NAMES: Mapping[str, str] = {
    "constraint": "constraints",
    "cpus": "cpus_per_task",
    "exclude": "excluded_nodes",
    "exclusive": "shared",
    "gpus": "tres_per_job",
    "gres": "tres_per_node",
    "memory": "memory_per_node",
    "nodelist": "required_nodes",
    "ntasks": "tasks",
    "oversubscribe": "shared",
    "time": "time_limit",
    "tmp": "temporary_disk_per_node",
}


def _text(value: Any) -> str:
    return properties.text(value)


def _count(value: Any) -> int:
    return int(properties.whole(value))


def _truth(value: Any) -> bool:
    return properties.flag(value) is not None


def _list(value: Any) -> list[str]:
    return properties.names(value).split(",")


def _number(value: Any) -> dict[str, Any] | None:
    written = properties.numbered(properties.whole)(value)
    return None if written is None else _set(int(written))


def _set(number: int) -> dict[str, Any]:
    return {"set": True, "infinite": False, "number": number}


def _minutes(value: Any) -> dict[str, Any] | None:
    written = properties.numbered(properties.minutes)(value)
    if written == "UNLIMITED":
        return {"set": True, "infinite": True, "number": 0}
    return None if written is None else _set(minutes_of(written))


def minutes_of(clock: str) -> int:
    """Return the minutes, rounded up, of a length of time as sbatch writes it: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S."""
    days, dash, rest = clock.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    # Without days, the first of one or two parts is minutes; with days, it is hours.
    hours, minutes, seconds = (*parts, 0, 0)[:3] if dash or len(parts) == 3 else (0, *parts, 0)[:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) + math.ceil(seconds / 60)


UNITS = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}


def _megabytes_count(value: Any) -> int:
    written = properties.megabytes(value)
    return math.ceil(int(written[:-1]) * UNITS[written[-1]])


def _megabytes(value: Any) -> dict[str, Any] | None:
    written = properties.numbered(properties.megabytes)(value)
    return None if written is None else _set(_megabytes_count(written))


def _moment(value: Any) -> dict[str, Any] | None:
    written = properties.numbered(properties.moment)(value)
    return None if written is None else _set(int(time.mktime(time.strptime(written, "%Y-%m-%dT%H:%M:%S"))))


def _gres(value: Any) -> str:
    return ",".join(f"gres/{one}" for one in properties.gres(value).split(","))


def _gpus(value: Any) -> str:
    return f"gres/gpu:{properties.text(value)}"


ALL_MAILS = ("BEGIN", "END", "FAIL", "INVALID_DEPENDENCY", "REQUEUE", "STAGE_OUT")
"""What ALL stands for in sbatch; a list of flags has no word for it."""


def _mail_types(value: Any) -> list[str]:
    found: list[str] = []
    for one in properties.mail_types(value).split(","):
        percent = re.fullmatch(r"TIME_LIMIT(?:_(\d\d))?", one)
        found += (
            ALL_MAILS if one == "ALL"
            else [] if one == "NONE"
            else [f"TIME={percent[1] or 100}%"] if percent
            else ["INVALID_DEPENDENCY"] if one == "INVALID_DEPEND"
            else [one]
        )  # fmt: skip
    return found


ALL_PROFILES = ("ENERGY", "LUSTRE", "NETWORK", "TASK")


def _profile(value: Any) -> list[str]:
    words = [one.upper() for one in _list(value)]
    return list(ALL_PROFILES) if "ALL" in words else words


SHARED: Mapping[str, str | None] = {
    "oversubscribe": "oversubscribe",
    "none": "none",
    "true": "none",
    "user": "user",
    "mcs": "mcs",
    "false": None,
}


def _shared(value: Any) -> list[str] | None:
    words = [str(value).lower()] if isinstance(value, bool) else properties.names(value).lower().split(",")
    return [found for word in words if (found := SHARED.get(word, word)) is not None] or None


def _oversubscribed(value: Any) -> list[str] | None:
    return ["oversubscribe"] if _truth(value) else None


SHAPES: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        (
            "account", "account_gather_frequency", "array", "batch_features", "burst_buffer", "cluster_constraint",
            "constraint", "constraints", "container", "cpu_frequency", "cpus_per_tres", "distribution", "licenses",
            "mail_user", "mcs_label", "memory_per_tres", "network", "nodes", "partition", "prefer", "qos",
            "reservation", "standard_input", "tres_bind", "tres_freq", "tres_per_job", "tres_per_node",
            "tres_per_socket", "tres_per_task", "wckey",
        ),
        _text,
    ),
    **dict.fromkeys(
        (
            "core_specification", "cores_per_socket", "cpus", "cpus_per_task", "deadline", "delay_boot",
            "maximum_nodes", "minimum_cpus", "minimum_cpus_per_node", "minimum_nodes", "nice", "ntasks",
            "ntasks_per_tres", "sockets_per_node", "tasks", "tasks_per_core", "tasks_per_node", "tasks_per_socket",
            "thread_specification", "threads_per_core", "wait_for_switch",
        ),
        _count,
    ),
    **dict.fromkeys(("contiguous", "kill_on_node_fail", "overcommit", "reboot", "wait_all_nodes"), _truth),
    **dict.fromkeys(("exclude", "excluded_nodes", "flags", "nodelist", "required_nodes"), _list),
    **dict.fromkeys(("priority", "required_switches"), _number),
    **dict.fromkeys(("time", "time_limit", "time_minimum"), _minutes),
    **dict.fromkeys(("memory", "memory_per_cpu", "memory_per_node"), _megabytes),
    **dict.fromkeys(("temporary_disk_per_node", "tmp"), _megabytes_count),
    **dict.fromkeys(("exclusive", "shared"), _shared),
    "begin_time": _moment,
    "gpus": _gpus,
    "gres": _gres,
    "mail_type": _mail_types,
    "oversubscribe": _oversubscribed,
    "profile": _profile,
}  # fmt: skip
"""What a value of ``image_resources`` becomes, by the type that slurmrestd's schema gives the property."""
