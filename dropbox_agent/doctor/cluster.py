"""Where tasks run: this machine or a cluster; what the job types ask of it, and what one of its nodes sees."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from dropbox_agent import assembly
from dropbox_agent.doctor.findings import Finding, Site, Verdict
from dropbox_agent.doctor.place import PREFIX
from dropbox_agent.errors import AgentError
from dropbox_agent.executors.slurm.jobs import Cluster, JobRequest, NoAccounting, Refused, SlurmJob, Unanswered
from dropbox_agent.executors.slurm.states import Stand, sentence, state_of
from dropbox_agent.plan.containers import PROGRAMS, Containers, images_of, obstacle

LONGEST_SECONDS = 60.0
"""How long the job that takes a second is waited for."""
LATE_SECONDS = 10.0
"""How long after the end of a job what it wrote may take to be seen through a share."""
LOOK_SECONDS = 0.5


def executor(at: Site) -> Iterator[Finding]:
    """What runs the tasks; of a cluster: whether it answers, has what is asked of it, and sees the work folder."""
    kind = at.settings.executor.kind
    if kind == "rehearsal":
        advice = "Set executor.kind to local or slurm."
        yield Finding("executor", Verdict.WARNING, "Nothing is run: executor.kind is rehearsal.", advice)
    elif kind == "local":
        slots = at.settings.executor.slots or assembly.SLOTS["local"]
        yield Finding("executor", Verdict.OK, f"Tasks run on this machine, {slots} at a time.")
        yield from _containers(at, _seen_here(at))
    else:
        yield from _cluster(at, assembly.way_to_cluster(at.settings.executor, at.environ))


def _cluster(at: Site, way: Cluster) -> Iterator[Finding]:
    try:
        partitions = way.partitions()
    except Unanswered as unanswered:
        advice = "Until it answers, manifests are taken in and wait. Correct 'executor' if it never will."
        yield Finding("cluster", Verdict.FAILED, f"The cluster does not answer: {unanswered}.", advice)
        return
    named = ", ".join(f"{one.name}{' (default)' * one.is_default}{'' if one.up else ' (down)'}" for one in partitions)
    yield Finding("cluster", Verdict.OK, f"The cluster answers. Its partitions: {named or 'none'}.")
    asked = _asked_by(at)
    up = {one.name for one in partitions if one.up}
    yield from _unknown("partition", asked, up, f"the cluster has no such partition, or it is down; up are: {named}")
    yield from _qos(way, asked)
    yield from _node(at, way)


# --- what is asked of the cluster ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Asked:
    """One thing the site asks of the cluster, and where that is written."""

    what: str
    name: str
    by: str


def _asked_by(at: Site) -> list[_Asked]:
    """Return the partitions and QOS that the settings and the job types name, each once."""
    chosen = at.settings.executor
    found = [
        _Asked(what, name, "executor in agent.yaml")
        for what, name in (("partition", chosen.partition), ("qos", chosen.qos))
        if name is not None
    ]
    for job_type, task in _preset_tasks(at):
        asked = task.get("image_resources") or {}
        for what in ("partition", "qos"):
            names = str(asked.get(what) or "").split(",")
            found += [_Asked(what, name, f"the job type {job_type}") for name in names if name]
    return list(dict.fromkeys(found))


def _preset_tasks(at: Site) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        stored = assembly.job_types(at.settings)()
    except AgentError:
        return  # another check says so
    for name, job_type in sorted(stored.job_types.items()):
        yield from ((name, task) for task in job_type.tasks.values())


def _unknown(what: str, asked: list[_Asked], known: set[str], words: str) -> Iterator[Finding]:
    for one in asked:
        if one.what == what and one.name not in known:
            said = f"{one.by[0].upper()}{one.by[1:]} asks for {one.name}: {words}."
            yield Finding(f"{what} {one.name}", Verdict.WARNING, said, "Jobs that ask for it are refused, or wait.")


def _qos(way: Cluster, asked: list[_Asked]) -> Iterator[Finding]:
    named = [one for one in asked if one.what == "qos"]
    try:
        known = set(way.qualities())
    except NoAccounting:
        words = "The cluster keeps no accounts (no slurmdbd): it takes any QOS, and tells nothing of the past."
        yield Finding("qos", Verdict.NOT_CONFIGURED, words)
    except Unanswered as unanswered:
        words = f"The cluster does not say which QOS it has: {unanswered}."
        yield Finding("qos", Verdict.WARNING if named else Verdict.NOT_CONFIGURED, words)
    else:
        yield Finding("qos", Verdict.OK, f"The cluster has: {', '.join(sorted(known))}.")
        yield from _unknown("qos", named, known, "the cluster has no such QOS")


# --- what a node sees ------------------------------------------------------------------------------------------------


def _node(at: Site, way: Cluster) -> Iterator[Finding]:
    """Run a job that takes a second in the work folder."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=at.settings.work_dir))
    except OSError as error:
        words = f"No job could be run: {at.settings.work_dir} does not take a folder ({error.strerror})."
        yield Finding("work_dir on a node", Verdict.FAILED, words)
        return
    try:
        # Whoever the job runs as has to write there too.
        folder.chmod(0o777)
        found = _look_from_a_node(at, way, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if isinstance(found, Finding):
        yield found
        return
    yield _said_by_node(at, found)
    yield from _containers(at, found)


def _look_from_a_node(at: Site, way: Cluster, folder: Path) -> Mapping[str, Any] | Finding:
    """Return what a node wrote down, or why it did not."""
    name = folder.name.strip(".")
    try:
        way.submit(_request(at, folder, name))
    except Refused as refused:
        words = f"The cluster did not take a job that takes a second: {refused.words}."
        return Finding("work_dir on a node", Verdict.FAILED, words, "Correct 'executor' in agent.yaml.")
    try:
        return _answer(way, folder, name)
    finally:
        _end(way, name)


def _request(at: Site, folder: Path, name: str) -> JobRequest:
    chosen, site = at.settings.executor, assembly.containers(at.settings)
    (folder / "probe.py").write_text(
        resources.files(__package__).joinpath("probe.py").read_text("utf-8"), encoding="utf-8"
    )
    command = [str(chosen.python or sys.executable), "-I", str(folder / "probe.py"), str(folder), _program(site)]
    asked = {"partition": chosen.partition, "account": chosen.account, "qos": chosen.qos, "time": 1}
    return JobRequest(
        name=name,
        comment="dropbox-agent doctor",
        script=f"#!/bin/sh\nexec {shlex.join([*command, *([str(site.images)] if site.images else [])])}\n",
        log=folder / "log",
        resources={what: value for what, value in asked.items() if value is not None},
    )


def _answer(way: Cluster, folder: Path, name: str) -> Mapping[str, Any] | Finding:
    until = time.monotonic() + LONGEST_SECONDS
    over_since: float | None = None
    job: SlurmJob | None = None
    while time.monotonic() < until:
        if (folder / "seen.json").exists():
            seen: Mapping[str, Any] = json.loads((folder / "seen.json").read_text("utf-8"))
            return seen
        job = _job(way, name) or job
        if job is not None and state_of(job).stand is Stand.OVER:
            over_since = over_since or time.monotonic()
            if _log(folder) or time.monotonic() - over_since > LATE_SECONDS:
                return _left_nothing(folder, job)
        time.sleep(LOOK_SECONDS)
    words = sentence(job) if job is not None else None
    said = f"A job that takes a second did not end within {LONGEST_SECONDS:g} s: {words or 'it still runs'}"
    advice = "When the cluster has room, ask again: what a node sees is not known."
    return Finding("work_dir on a node", Verdict.WARNING, said, advice)


def _job(way: Cluster, name: str) -> SlurmJob | None:
    try:
        return next((job for job in way.jobs() if job.name == name), None)
    except Unanswered:
        return None


def _end(way: Cluster, name: str) -> None:
    try:
        way.cancel(name, hard=False)
    except Unanswered:
        print("The job of the doctor could not be ended; it ends by itself within a minute.", file=sys.stderr)


def _left_nothing(folder: Path, job: SlurmJob) -> Finding:
    where = job.nodes or "a node"
    if log := _log(folder):
        words, advice = f"A job on {where} did not work: {log}", "Set executor.python to a Python that every node has."
    else:
        words = f"A job on {where} wrote nothing into {folder.parent}: {sentence(job) or job.state}"
        advice = "Every node has to see work_dir, under this path, and the job's account has to be able to write there."
    return Finding("work_dir on a node", Verdict.FAILED, words, advice)


def _log(folder: Path) -> str:
    """Return the end of what the job printed, which is nothing when all went well."""
    try:
        return (folder / "log").read_text("utf-8", "replace").strip()[-300:]
    except OSError:
        return ""


def _said_by_node(at: Site, seen: Mapping[str, Any]) -> Finding:
    words = f"{seen['host']} sees {at.settings.work_dir} and runs Python {seen['python']}"
    if seen["has_package"]:
        return Finding("work_dir on a node", Verdict.OK, f"{words} with this program.")
    advice = "Install dropbox-agent for that Python, or set executor.python to one that has it."
    return Finding("work_dir on a node", Verdict.FAILED, f"{words}, but without this program.", advice)


# --- containers ------------------------------------------------------------------------------------------------------


def _program(site: Containers) -> str:
    return site.program or PROGRAMS.get(site.kind, "")


def _seen_here(at: Site) -> Mapping[str, Any]:
    site = assembly.containers(at.settings)
    there = None if site.images is None else site.images.is_dir()
    return {"host": "This machine", "program": shutil.which(_program(site)), "has_images": there}


def _containers(at: Site, seen: Mapping[str, Any]) -> Iterator[Finding]:
    """What runs containers, as it was seen where tasks run, and the images of the job types."""
    site = assembly.containers(at.settings)
    if site.kind == "none":
        words = "Nothing runs containers (containers.kind: none); job types that need an image are refused."
        yield Finding("containers", Verdict.NOT_CONFIGURED, words)
    elif seen["program"] is None:
        words = f"{seen['host']} does not find {_program(site)}."
        yield Finding("containers", Verdict.FAILED, words, "Install it there, or set containers.program to its path.")
    elif seen["has_images"] is False:
        words = f"{seen['host']} does not see the images in {site.images}."
        yield Finding("containers", Verdict.FAILED, words, "Mount the folder there, or correct containers.images.")
    else:
        where = site.images or "their registry"
        yield Finding("containers", Verdict.OK, f"{seen['host']} has {seen['program']}; images are in {where}.")
    yield from _images(at, site)


def _images(at: Site, site: Containers) -> Iterator[Finding]:
    for job_type, task in _preset_tasks(at):
        words = obstacle(task, site)
        if words is not None:
            yield Finding(f"image of {job_type}", Verdict.WARNING, f"Its script {words}.", "Such jobs are refused.")
            continue
        for image in images_of({job_type: task}, site).values():
            if site.images is not None and site.images.is_dir() and not image.exists():
                said = f"Its image is not there: {image}."
                yield Finding(f"image of {job_type}", Verdict.WARNING, said, "Such jobs are refused until it is.")
