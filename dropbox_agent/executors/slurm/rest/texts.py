"""What a job asks for, as v0.0.38 takes it: the values of sbatch's options, under names of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class CannotAsk(Exception):
    """This version has no word for what a job asks for; the text says what."""


FIELDS: Mapping[str, str] = {
    "--account": "account",
    "--acctg-freq": "account_gather_frequency",
    "--array": "array",
    "--bb": "burst_buffer",
    "--begin": "begin_time",
    "--cluster-constraint": "cluster_constraint",
    "--constraint": "constraints",
    "--container": "container",
    "--core-spec": "core_specification",
    "--cores-per-socket": "cores_per_socket",
    "--cpu-freq": "cpu_frequency",
    "--cpus-per-gpu": "cpus_per_gpu",
    "--cpus-per-task": "cpus_per_task",
    "--deadline": "deadline",
    "--delay-boot": "delay_boot",
    "--distribution": "distribution",
    "--exclude": "exclude_nodes",
    "--exclusive": "exclusive",
    "--gpu-bind": "gpu_binding",
    "--gpu-freq": "gpu_frequency",
    "--gpus": "gpus",
    "--gpus-per-socket": "gpus_per_socket",
    "--gpus-per-task": "gpus_per_task",
    "--gres": "gres",
    "--gres-flags": "gres_flags",
    "--input": "standard_input",
    "--licenses": "licenses",
    "--mail-type": "mail_type",
    "--mail-user": "mail_user",
    "--mcs-label": "mcs_label",
    "--mem": "memory_per_node",
    "--mem-per-cpu": "memory_per_cpu",
    "--mem-per-gpu": "memory_per_gpu",
    "--mincpus": "minimum_cpus_per_node",
    "--nice": "nice",
    "--no-kill": "no_kill",
    "--nodelist": "nodelist",
    "--nodes": "nodes",
    "--ntasks": "tasks",
    "--ntasks-per-core": "tasks_per_core",
    "--ntasks-per-gpu": "ntasks_per_gpu",
    "--ntasks-per-node": "tasks_per_node",
    "--ntasks-per-socket": "tasks_per_socket",
    "--oversubscribe": "oversubscribe",
    "--partition": "partition",
    "--prefer": "prefer",
    "--priority": "priority",
    "--profile": "profile",
    "--qos": "qos",
    "--reservation": "reservation",
    "--sockets-per-node": "sockets_per_node",
    "--spread-job": "spread_job",
    "--thread-spec": "thread_specification",
    "--threads-per-core": "threads_per_core",
    "--time": "time_limit",
    "--time-min": "time_minimum",
    "--tmp": "temporary_disk_per_node",
    "--use-min-nodes": "minimum_nodes",
    "--wait-all-nodes": "wait_all_nodes",
    "--wckey": "wckey",
}
"""Option of sbatch -> field.

There is none for --contiguous, --network, --overcommit, --reboot and --switches. The one for --batch is left out: with
it slurmrestd 22.05 corrupts its memory and crashes, 23 times in 25.
"""
WITHOUT_VALUE: Mapping[str, Any] = {"--exclusive": "exclusive", "--no-kill": "set"}
"""What an option stands for that is given without a value; of the others it is true."""


def as_texts(options: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields that stand for options of sbatch; of two that say the same, the last counts."""
    found: dict[str, Any] = {}
    for option in options:
        name, sign, value = option.partition("=")
        if name not in FIELDS:
            raise CannotAsk(f"slurmrestd v0.0.38 cannot be asked for {name}, sbatch can (via: cli)")
        found[FIELDS[name]] = value if sign else WITHOUT_VALUE.get(name, True)
    return found
