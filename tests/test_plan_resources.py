"""image_resources: what slurmrestd takes, and short names, become options of sbatch or are refused in words."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dropbox_agent import plan
from dropbox_agent.plan.properties import PROPERTIES
from dropbox_agent.plan.resources import Fault

# What slurmrestd v0.0.40 calls the properties of a job description.
V0_0_40 = """
account account_gather_frequency admin_comment allocation_node_list allocation_node_port argv array batch_features
begin_time flags burst_buffer clusters cluster_constraint comment contiguous container container_id cores_per_socket
core_specification thread_specification cpu_binding cpu_binding_flags cpu_frequency cpus_per_tres crontab deadline
delay_boot dependency end_time environment rlimits excluded_nodes extra constraints group_id hetjob_group immediate
job_id kill_on_node_fail licenses mail_type mail_user mcs_label memory_binding memory_binding_type memory_per_tres name
network nice tasks open_mode reserve_ports overcommit partition distribution_plane_size power_flags prefer hold priority
profile qos reboot required_nodes requeue reservation script shared exclusive oversubscribe site_factor
spank_environment distribution time_limit time_minimum tres_bind tres_freq tres_per_job tres_per_node tres_per_socket
tres_per_task user_id wait_all_nodes kill_warning_flags kill_warning_signal kill_warning_delay
current_working_directory cpus_per_task minimum_cpus maximum_cpus nodes minimum_nodes maximum_nodes
minimum_boards_per_node minimum_sockets_per_board sockets_per_node threads_per_core tasks_per_node tasks_per_socket
tasks_per_core tasks_per_board ntasks_per_tres minimum_cpus_per_node memory_per_cpu memory_per_node
temporary_disk_per_node selinux_context required_switches standard_error standard_input standard_output wait_for_switch
wckey x11 x11_magic_cookie x11_target_host x11_target_port
"""
NAMES = V0_0_40.split()
SHORT = {"cpus", "memory", "time", "gres", "gpus", "ntasks", "constraint", "nodelist", "exclude", "tmp"}


def test_every_property_of_slurmrestd_is_in_the_table_once() -> None:
    names = [known.name for known in PROPERTIES]
    assert set(names) == {*NAMES, *SHORT}
    assert len(names) == len(set(names))


def test_each_line_of_the_table_says_one_thing() -> None:
    for known in PROPERTIES:
        says = [known.option is not None, known.joint, known.decided is not None, known.refused is not None]
        assert says.count(True) == 1, known
        assert (known.option is None) is (known.reads is None), known


@pytest.mark.parametrize(
    ("resources", "options"),
    [
        ({}, ()),
        ({"cpus": 4, "memory": "16G", "time": "1-00:00:00"}, ("--cpus-per-task=4", "--mem=16G", "--time=1-00:00:00")),
        ({"memory": 500, "time": 90, "gres": "gpu:a100:2"}, ("--mem=500M", "--time=90", "--gres=gpu:a100:2")),
        ({"memory": "2 gb", "time": 1.5}, ("--mem=2G", "--time=2")),
        # As upstream's presets and requests have them.
        (
            {
                "memory_per_cpu": {"set": True, "number": 6000},
                "minimum_cpus_per_node": 6,
                "time_limit": {"set": True, "number": 240},
                "partition": "aind",
                "qos": "dev",
                "tasks": 1,
                "environment": ["PATH=/bin:/usr/bin/", "LD_LIBRARY_PATH=/lib/"],
                "standard_output": "/allen/logs/%x_%j.out",
                "current_working_directory": ".",
            },
            ("--ntasks=1", "--partition=aind", "--qos=dev", "--time=240", "--mincpus=6", "--mem-per-cpu=6000M"),
        ),
        ({"memory_per_cpu": {"set": False, "number": 0}, "account": None}, ()),
        ({"time_limit": {"set": True, "infinite": True}}, ("--time=UNLIMITED",)),
        ({"memory_per_node": 0}, ("--mem=0M",)),
        # Neither null nor an empty group sets anything.
        ({"time_limit": {}, "other": {}, "more": None}, ()),
        ({"nodes": "2-4", "minimum_nodes": 1}, ("--nodes=2-4",)),
        ({"minimum_nodes": 2, "maximum_nodes": 3}, ("--nodes=2-3",)),
        ({"maximum_nodes": 3}, ("--nodes=1-3",)),
        ({"minimum_cpus": 5, "tasks": 1}, ("--ntasks=1", "--cpus-per-task=5")),
        ({"required_switches": {"number": 2}, "wait_for_switch": 90}, ("--switches=2@1:30",)),
        ({"flags": ["SPREAD_JOB", "KILL_INVALID_DEPENDENCY"]}, ("--spread-job",)),
        ({"shared": ["none"]}, ("--exclusive",)),
        ({"exclusive": ["user"]}, ("--exclusive=user",)),
        ({"exclusive": True, "contiguous": False}, ("--exclusive",)),
        ({"kill_on_node_fail": False}, ("--no-kill",)),
        ({"kill_on_node_fail": True, "wait_all_nodes": True}, ("--wait-all-nodes=1",)),
        ({"excluded_nodes": ["n1", "n2"], "required_nodes": "n3"}, ("--exclude=n1,n2", "--nodelist=n3")),
        ({"mail_type": ["END", "TIME=90%"]}, ("--mail-type=END,TIME_LIMIT_90",)),
        ({"delay_boot": 61}, ("--delay-boot=2",)),
        ({"tres_per_job": "gres:gpu:2"}, ("--gpus=2",)),
        ({"tres_per_task": "gres/gpu=1", "tres_per_node": "gres:shard:4"}, ("--gres=shard:4", "--gpus-per-task=1")),
        ({"memory_per_tres": "gres:gpu:4000"}, ("--mem-per-gpu=4000M",)),
        ({"priority": {"set": True, "number": 7}}, ("--priority=7",)),
        # A value is one word of the command, whatever is in it.
        ({"partition": "x --uid=0; rm"}, ("--partition=x --uid=0; rm",)),
    ],
)  # fmt: skip
def test_resources_become_options(resources: dict[str, Any], options: tuple[str, ...]) -> None:
    assert plan.resource_options(resources) == options
    assert [fault for fault in plan.resource_problems(resources) if not fault.passed_over] == []


def test_a_time_is_written_on_the_clusters_own_clock() -> None:
    local = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(1_700_000_000))
    resources = {"begin_time": {"set": True, "number": 1_700_000_000}, "deadline": 1_700_000_000}
    assert plan.resource_options(resources) == (f"--begin={local}", f"--deadline={local}")


@pytest.mark.parametrize(
    ("resources", "name", "words"),
    [
        ({"memory_per_cpus": 1}, "memory_per_cpus", "is not a property of a job; did you mean memory_per_cpu?"),
        ({"zzz": 1}, "zzz", "is not a property of a job; known are the job properties of Slurm's slurmrestd, and cpus,"
         " memory, time, gres, gpus, nodes, partition"),
        ({"cpus": 0}, "cpus", "is 0; write 1 or more"),
        ({"cpus": "four"}, "cpus", "is not a whole number, 0 or more"),
        ({"cpus": True}, "cpus", "is not a whole number, 0 or more"),
        ({"cpus": 10**5000}, "cpus", "is not a whole number, 0 or more"),
        ({"partition": 10**5000}, "partition", "is not a whole number, 0 or more"),
        ({"memory": "much"}, "memory", "is no amount of memory; write megabytes, or 16G"),
        ({"time": "soon"}, "time", "is no length of time; write minutes, H:MM:SS or D-HH:MM:SS"),
        ({"time": float("nan")}, "time", "is no length of time; write minutes, H:MM:SS or D-HH:MM:SS"),
        ({"time_limit": {"set": True}}, "time_limit", "has no number"),
        ({"time_limit": {"numer": 3}}, "time_limit", "has numer; only set, infinite and number belong there"),
        ({"partition": "a\nb"}, "partition", "has a character that cannot be printed, or is too long"),
        ({"partition": ["a"]}, "partition", "is not text"),
        ({"nodes": "many"}, "nodes", "is no number of nodes; write 2, or 1-4"),
        ({"nodes": "4-2"}, "nodes", "is no number of nodes; write 2, or 1-4"),
        ({"minimum_nodes": 4, "maximum_nodes": 2}, "minimum_nodes", "is more than maximum_nodes"),
        ({"minimum_cpus": 4, "tasks": 2}, "minimum_cpus", "has no option of sbatch beside tasks; write cpus_per_task"),
        ({"exclusive": "perhaps"}, "exclusive", "has perhaps; known are oversubscribe, none, true, user, mcs, false"),
        ({"contiguous": "x"}, "contiguous", "is neither true nor false"),
        ({"tres_per_job": "2"}, "tres_per_job", "is not of the form gres:gpu:2"),
        ({"wait_for_switch": 5}, "wait_for_switch", "says how long to wait for required_switches; set that too"),
        ({"environment": "PATH"}, "environment", "is neither a list of NAME=VALUE nor a group of names and values"),
        ({"environment": ["A B=1"]}, "environment", "has 'A B', which is no name of a variable with a value"),
        ({"array": "0:3"}, "array", "is no list of elements; write 0-3, 0-9:3, 1,4,7 or 0-7%2"),
        ({"array": "3-0"}, "array", "goes from 3 down to 0; write 0-3, 0-9:3, 1,4,7 or 0-7%2"),
        ({"array": "0-3%0"}, "array", "has no number after %; write 0-3, 0-9:3, 1,4,7 or 0-7%2"),
        ({"array": "0-1000"}, "array", "has more than 1000 elements; no more are possible"),
        ({"array": "0-999,2000"}, "array", "has 1001 elements; at most 1000 are possible"),
        ({"array": ""}, "array", "is no list of elements; write 0-3, 0-9:3, 1,4,7 or 0-7%2"),
        ({"array": True}, "array", "is no list of elements; write 0-3, 0-9:3, 1,4,7 or 0-7%2"),
        ({"x11": ["BATCH_NODE"]}, "x11", "belongs to Slurm itself, or to other kinds of jobs"),
        ({"maximum_cpus": 3}, "maximum_cpus", "has no option of sbatch that would ask for it"),
        ({"time": 5, "time_limit": 5}, "time_limit", "and time say the same (--time); keep one"),
        ({"memory_per_cpu": 5, "memory_per_node": 5}, "memory_per_node",
         "and memory_per_cpu exclude each other; keep one"),
        ({"exclusive": True, "oversubscribe": True}, "oversubscribe", "and exclusive exclude each other; keep one"),
    ],
)  # fmt: skip
def test_what_no_cluster_can_be_asked_for_is_a_fault(resources: dict[str, Any], name: str, words: str) -> None:
    assert [(fault.name, fault.words) for fault in plan.resource_problems(resources)] == [(name, words)]


def test_the_nearest_name_is_suggested() -> None:
    (fault,) = plan.resource_problems({"Memory-per-CPU": 1})
    assert fault.suggestion == "memory_per_cpu"


def test_what_the_agent_decides_itself_is_passed_over() -> None:
    (fault,) = plan.resource_problems({"open_mode": "append"})
    assert fault == Fault("open_mode", "is decided by this service", None, True)


@pytest.mark.parametrize(
    "resources",
    [{"priority": 3}, {"standard_output": "/x"}, {"standard_error": "/x"}, {"current_working_directory": "/x"}],
)
def test_some_properties_are_for_presets_only(resources: dict[str, Any]) -> None:
    assert plan.resource_problems(resources) == ()
    (fault,) = plan.resource_problems(resources, by_manifest=frozenset(resources))
    assert fault.words == "is for operators: only a preset may set it"


def test_where_copies_of_the_log_go_and_where_a_script_starts() -> None:
    asked = {"standard_output": "/logs/%x_%j.out", "standard_error": "/logs/%j.err", "current_working_directory": "/w"}
    assert plan.log_copies(asked) == {"standard_output": "/logs/%x_%j.out", "standard_error": "/logs/%j.err"}
    assert plan.starts_in(asked) == "/w"
    assert plan.resource_options(asked) == ()
    nothing = {"standard_output": None, "current_working_directory": "."}
    assert (plan.log_copies(nothing), plan.starts_in(nothing), plan.resource_problems(nothing)) == ({}, None, ())
    unfit = {"standard_output": "logs/%j", "standard_error": 3, "current_working_directory": "work"}
    assert (plan.log_copies(unfit), plan.starts_in(unfit)) == ({}, None)
    assert [(fault.name, fault.words) for fault in plan.resource_problems(unfit)] == [
        (name, "is not a full path, beginning with /")
        for name in ("current_working_directory", "standard_error", "standard_output")
    ]


def test_the_documented_resources_are_asked_for_as_they_stand_there() -> None:
    text = (Path(__file__).parent.parent / "docs" / "slurm.md").read_text()
    (block,) = [block for block in re.findall(r"```yaml\n(.*?)```", text, re.S) if block.startswith("tasks:")]
    resources = yaml.safe_load(block)["tasks"]["modality_transformation_settings"]["ecephys"]["image_resources"]
    assert plan.resource_problems(resources) == ()
    assert plan.resource_options(resources) == (
        "--cpus-per-task=8",
        "--partition=main",
        "--time=240",
        "--mem-per-cpu=6000M",
    )


def test_variables_come_from_a_list_or_a_group() -> None:
    assert plan.resource_environment({"environment": ["A=1=2", "B="]}) == {"A": "1=2", "B": ""}
    assert plan.resource_environment({"environment": {"A": 1, "B": None}}) == {"A": "1"}
    assert plan.resource_environment({}) == {}
    assert plan.resource_environment({"environment": {"A": "x\0"}}) == {}


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["set", "number", "x"]), inner),
    max_leaves=4,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*NAMES, *SHORT, "other"]), ANY, max_size=6))
def test_whatever_is_asked_for_every_option_is_one_well_formed_word(resources: dict[str, Any]) -> None:
    plan.resource_problems(resources)
    for option in plan.resource_options(resources):
        assert option.startswith("--") and option.isprintable()


@pytest.mark.parametrize(
    ("written", "numbers", "at_once", "option"),
    [
        ("0-3", (0, 1, 2, 3), None, "0-3"),
        ("0-7%2", (0, 1, 2, 3, 4, 5, 6, 7), 2, "0-7%2"),
        ("7, 1,4-5", (1, 4, 5, 7), None, "1,4-5,7"),
        ("0-9:3", (0, 3, 6, 9), None, "0,3,6,9"),
        ("2-3,3-4", (2, 3, 4), None, "2-4"),
        (5, (5,), None, "5"),
    ],
)
def test_the_elements_of_an_array(written: object, numbers: tuple[int, ...], at_once: int | None, option: str) -> None:
    assert plan.array_of({"array": written}) == plan.Array(numbers, at_once)
    assert plan.resource_options({"array": written}) == (f"--array={option}",)
