"""Build the parts from the settings: the only place where settings become inboxes, ledgers and executors."""

from __future__ import annotations

import getpass
import hashlib
import pwd
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse
from urllib.request import url2pathname

from dropbox_agent import deliver, manifest, orders, plan, policy, presets, projects, report
from dropbox_agent import settings as site
from dropbox_agent.agent import Agent, database
from dropbox_agent.answer import Answerer
from dropbox_agent.beside import Beside
from dropbox_agent.dispatch import Dispatcher
from dropbox_agent.errors import AgentError, NoInventory, OrderRefused, SettingsError, WrongUse
from dropbox_agent.examine import Examiner, presets_in, presets_of
from dropbox_agent.executors import (
    Asked,
    Executor,
    LocalExecutor,
    Patient,
    RehearsalExecutor,
    SlurmCommands,
    SlurmExecutor,
    SlurmRest,
    Token,
    bound,
)
from dropbox_agent.furnish import furnishing
from dropbox_agent.inbox import Inbox, Lease, beside, guard, myself, sweep_spool
from dropbox_agent.ledger import Ledger, Lists, Reader
from dropbox_agent.manifest import schema, template
from dropbox_agent.model import CodeOceanAccess, DocDbAccess, Order, Presets, Removal, S3Access, Secret
from dropbox_agent.observe import Observer
from dropbox_agent.patience import Places
from dropbox_agent.remembered import Answer, Remembered
from dropbox_agent.retention import Quarantine, Retention
from dropbox_agent.settings import Settings
from dropbox_agent.states import JobState
from dropbox_agent.troubles import Troubles

PROJECTS_SECONDS = 600.0
"""How old the list of projects may be."""
AGENT_PATIENCE_SECONDS, COMMAND_PATIENCE_SECONDS = 2.0, 20.0
"""How long a service is waited for that has answered before: nothing else goes on in an agent meanwhile."""
SLOTS = {"local": 2, "slurm": 1000}
"""How many allocations run at the same time where executor.slots does not say."""


def places(settings: Settings) -> Places:
    """Return how the shares of this site are asked: not for longer than the settings say."""
    return Places(settings.share_seconds)


def examiner(settings: Settings, room: manifest.Room | None = None, shares: Places | None = None) -> Examiner:
    """Return what examines manifests by this site's rules, reading them in ``room`` or each in a process of its own."""
    names = project_names(settings, keeps=room is not None)
    return Examiner(
        load_presets=job_types(settings, keeps=room is not None),
        buckets=settings.buckets,
        projects=tuple(settings.projects),
        more_projects=names,
        services=services(settings),
        rules=rules(settings),
        default_email=settings.mail.default_to,
        env_file=_env_file(settings),
        containers=containers(settings),
        upstream=settings.compat == "upstream",
        read=partial(manifest.read, upstream=settings.compat == "upstream") if room is None else room.read,
        places=shares or places(settings),
    )


def job_types(settings: Settings, *, keeps: bool = False) -> Callable[[], Presets]:
    """Return what loads the job types; ``keeps``: what a store said is written down, for when it is away."""
    store = preset_store(settings.presets)
    if settings.presets.kind == "yaml" or store is None:
        return presets_in(settings.presets.folder)
    remembered = Remembered(
        what=f"The Parameter Store below {store.prefix}/v2",
        ask=lambda: [one.as_json() for one in store.read()],
        file=settings.state_dir / f"parameters-{hashlib.sha256(repr(store).encode()).hexdigest()[:12]}.json",
        clock=utc_now,
        keeps=keeps,
        kept=presets.to_keep,
        refresh_seconds=settings.presets.refresh_seconds,
        patience_seconds=AGENT_PATIENCE_SECONDS if keeps else COMMAND_PATIENCE_SECONDS,
    )
    return presets_of(store.prefix, remembered.answer)


def project_names(settings: Settings, *, keeps: bool = False) -> Callable[[], Answer] | None:
    """Return what asks for the names of the projects, or None where no address is set; ``keeps``: as above."""
    url = settings.projects_url
    if url is None:
        return None
    remembered = Remembered(
        what=f"The list of projects at {url} (projects_url)",
        ask=partial(projects.fetch, url),
        file=settings.state_dir / f"projects-{hashlib.sha256(url.encode()).hexdigest()[:12]}.json",
        clock=utc_now,
        keeps=keeps,
        refresh_seconds=PROJECTS_SECONDS,
        patience_seconds=AGENT_PATIENCE_SECONDS if keeps else COMMAND_PATIENCE_SECONDS,
    )
    return remembered.answer


def preset_store(chosen: site.Presets) -> presets.Store | None:
    """Return the Parameter Store that the settings name, or None."""
    if chosen.prefix is None:
        return None
    return presets.Store(chosen.prefix, chosen.region, chosen.profile, chosen.endpoint_url)


def containers(settings: Settings) -> plan.Containers:
    """Return what this site runs containers with."""
    chosen = settings.containers
    return plan.Containers(chosen.kind, chosen.program, chosen.images, tuple(chosen.bind))


def _env_file(settings: Settings) -> str | None:
    return None if settings.executor.env_file is None else str(settings.executor.env_file)


def rules(settings: Settings) -> policy.Rules:
    """Return what this site allows, with the folders that nobody may upload."""
    own = [settings.state_dir, settings.work_dir, *(inbox.path for inbox in settings.inboxes)]
    stores = [folder for address in settings.buckets.values() if (folder := bucket_folder(address)) is not None]
    may_set = settings.policy.manifests_may_set
    return policy.Rules(
        source_roots=tuple(map(str, settings.policy.source_roots)),
        manifests_may_set=may_set if isinstance(may_set, str) else tuple(may_set),
        source_removal=settings.policy.source_removal,
        protected=tuple(map(str, [*own, *stores])),
        path_map=settings.path_map,
    )


def bucket_folder(address: str) -> Path | None:
    """Return the folder of a ``file://`` bucket, else None."""
    parts = urlparse(address)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


def pages(settings: Settings) -> report.Pages:
    """Return the templates, a site's own before the packaged ones."""
    own = [settings.templates] if settings.templates else []
    return report.Pages([*own, site.packaged("templates")], settings.site.model_dump())


def executor(settings: Settings, environ: Mapping[str, str]) -> Executor:
    """Return the place to run that the settings name."""
    if settings.executor.kind == "rehearsal":
        return RehearsalExecutor()
    if settings.executor.kind == "slurm":
        return slurm(settings.executor, environ)
    return LocalExecutor(settings.executor.slots or SLOTS["local"], environ)


def slurm(chosen: site.Executor, environ: Mapping[str, str]) -> SlurmExecutor:
    """Return the way to a cluster that the settings name."""
    return SlurmExecutor(
        way_to_cluster(chosen, environ),
        slots=chosen.slots or SLOTS["slurm"],
        python=str(chosen.python or sys.executable),
        asked=Asked(chosen.partition, chosen.account, chosen.qos),
        poll_seconds=chosen.poll_seconds,
        grace_seconds=chosen.grace_seconds,
    )


def post(settings: Settings, environ: Mapping[str, str], shares: Places, ledger_id: str) -> deliver.Post:
    """Return what takes the mails; files go only into inboxes of this ledger."""

    def put(letter: deliver.Letter) -> None:
        beside(shares, letter.folder, ledger_id, partial(deliver.write_beside, letter))

    server = mail_server(settings.mail)
    return deliver.FilePost(put) if server is None else deliver.SmtpPost(server, environ, put=put)


def way_to_cluster(chosen: site.Executor, environ: Mapping[str, str]) -> SlurmCommands | SlurmRest:
    """Return how the cluster is talked to: by its commands on this machine, or by slurmrestd."""
    return _rest(chosen, environ) if chosen.via == "rest" else SlurmCommands(environ)


def _rest(chosen: site.Executor, environ: Mapping[str, str]) -> SlurmRest:
    assert chosen.url is not None
    return SlurmRest(chosen.url, Token(chosen.token_file, environ), getpass.getuser(), user=chosen.user)


def mail_server(mail: site.Mail) -> deliver.MailServer | None:
    """Return the mail server that the settings name, or None."""
    if mail.kind == "file" or mail.host is None:
        return None
    return deliver.MailServer(
        host=mail.host,
        port=mail.port if mail.port is not None else deliver.PORTS[mail.security],
        security=mail.security,
        username=mail.username,
        password=secret("mail.password", mail.password_file, mail.password_env),
        ca_file=mail.ca_file,
        timeout_seconds=mail.timeout_seconds,
    )


def secret(name: str, file: Path | None, variable: str | None) -> Secret | None:
    """Return where a password or token is, or None when none is set."""
    return None if file is None and variable is None else Secret(name=name, file=file, variable=variable)


def inboxes(settings: Settings, shares: Places | None = None) -> list[Inbox]:
    """Return the watched folders."""
    return [
        Inbox(
            path=one.path,
            spool=settings.state_dir / "spool",
            suffixes=manifest.SUFFIXES,
            is_ours=deliver.is_ours_whatever_it_says,
            is_temporary=deliver.is_temporary,
            order_beside=lambda name, act: deliver.Names(name).order(act),
            is_unchanged=deliver.is_unchanged,
            may_be_unchanged=deliver.is_ours,
            settle_seconds=one.settle_seconds,
            settle_max_seconds=one.settle_max_seconds,
            scan_seconds=one.scan_seconds,
            places=shares or places(settings),
        )
        for one in settings.inboxes
    ]


def context(settings: Settings) -> plan.Context:
    """Return what every task of this site is told besides its plan."""
    return plan.Context(
        work_dir=settings.work_dir,
        allowed_roots=tuple(settings.policy.source_roots),
        protected=tuple(map(Path, rules(settings).protected)),
        metadata_required=_metadata_is_required(settings.metadata),
        metadata_strict=settings.metadata.strict,
        env_file=_env_file(settings),
        s3={name: s3_access(settings, name) for name, at in settings.buckets.items() if at.startswith("s3:")},
        removal=removal(settings),
        containers=containers(settings),
        metadata_service=settings.metadata.service_url,
        codeocean=code_ocean(settings.codeocean),
        docdb=doc_db(settings.docdb),
    )


def _metadata_is_required(metadata: site.Metadata) -> bool:
    """Where a site has a source of metadata, a job without them has gone wrong."""
    return metadata.service_url is not None if metadata.required is None else metadata.required


def code_ocean(chosen: site.CodeOcean) -> CodeOceanAccess | None:
    """Return how tasks reach Code Ocean, or None where a site has none."""
    token = secret("codeocean.token", chosen.token_file, None)
    if chosen.domain is None or token is None:
        return None
    return CodeOceanAccess(domain=chosen.domain.rstrip("/"), token=token, public=chosen.public, hours=chosen.hours)


def doc_db(chosen: site.DocDb) -> DocDbAccess | None:
    """Return how tasks reach the metadata database, or None where a site has none."""
    if chosen.host is None:
        return None
    return DocDbAccess(host=chosen.host, version=chosen.version, region=chosen.region, profile=chosen.profile)


def services(settings: Settings) -> tuple[plan.Service, ...]:
    """Return the services that tasks of this site can use."""
    has: dict[plan.Service, object] = {"codeocean": code_ocean(settings.codeocean), "docdb": doc_db(settings.docdb)}
    return tuple(name for name, access in has.items() if access is not None)


def removal(settings: Settings) -> Removal | None:
    """Return what this site lets be removed; None: nothing. Raises SettingsError for an account nobody knows."""
    if not settings.policy.source_removal:
        return None
    owners = [_uid(name, settings) for name in settings.policy.removal_owners]
    days = settings.policy.quarantine_days
    return Removal(roots=list(settings.policy.source_roots), owners=owners, quarantine_days=days)


def quarantine(settings: Settings) -> Quarantine | None:
    """Return what empties the quarantine of the roots; None where nothing is removed, or nothing waits."""
    allowed = removal(settings)
    if allowed is None or allowed.quarantine_days == 0:
        return None
    return Quarantine(allowed.roots, allowed.quarantine_days)


def _uid(name: str, settings: Settings) -> int:
    try:
        return int(name) if name.isdigit() else pwd.getpwnam(name).pw_uid
    except KeyError:
        finding = f'policy.removal_owners: there is no account "{name}" on this machine.'
        raise SettingsError(settings.origin, (finding,)) from None


def s3_access(settings: Settings, bucket: str) -> S3Access:
    """Return how a bucket in S3 is reached: as all are, but for what is set for it alone."""
    common = settings.s3.model_dump(exclude={"buckets"})
    alone = settings.s3.buckets.get(bucket)
    return S3Access(**common | (alone.model_dump(exclude_none=True) if alone else {}))


def open_ledger(settings: Settings, now: datetime) -> Ledger:
    """Return the site's ledger. Raises LedgerInUse while another agent holds it."""
    return Ledger.open(database(settings.state_dir), settings.work_dir, now)


def open_reader(settings: Settings) -> Reader:
    """Return a reader of the site's ledger. Raises LedgerUnavailable when there is none yet."""
    return Reader.of(database(settings.state_dir), settings.work_dir)


def open_lists(settings: Settings) -> Lists:
    """Return what lists the jobs and manifests of the site. Raises LedgerUnavailable when there is none yet."""
    return Lists.of(database(settings.state_dir))


def open_agent(settings: Settings, environ: Mapping[str, str], now: datetime) -> Agent:
    """Return an agent that holds the site's ledger. Raises what an operator has to mend first."""
    if not settings.inboxes:
        raise WrongUse(f"{settings.origin}: no inbox is set ('inboxes'), so there is nothing to watch.")
    if not settings.work_dir.is_dir():
        raise AgentError(f"The work folder {settings.work_dir} (work_dir) is not there. Make it, or correct work_dir.")
    room = manifest.Room(upstream=settings.compat == "upstream")
    shares = places(settings)
    how, by = pages(settings), examiner(settings, room, shares)
    ledger = open_ledger(settings, now)
    sweep_spool(settings.state_dir / "spool", ledger.contents_recorded())
    orders.sweep(orders_in(settings), now)
    bound.bind_if_new(settings.work_dir, ledger.ledger_id, ledger.all_job_ids())
    watched = inboxes(settings, shares)
    owner = myself(database(settings.state_dir), ledger.ledger_id)
    for one in watched:
        one.lease = Lease(one.path, owner, one.scan_seconds)
    beside, troubles = Beside(watched, shares, ledger), Troubles()
    return Agent(
        ledger=ledger,
        inboxes=watched,
        examiner=by,
        executor=Patient(executor(settings, environ), settings.work_dir, shares, ledger.ledger_id),
        dispatcher=Dispatcher(ledger, context(settings), troubles, settings.jobs_per_manifest),
        observer=Observer(ledger, shares, troubles),
        answerer=Answerer(
            ledger,
            how,
            beside,
            troubles,
            settings.mail.sender,
            post=post(settings, environ, shares, ledger.ledger_id),
            annotate=room.annotated,
        ),
        beside=beside,
        places=shares,
        troubles=troubles,
        orders_folder=orders_in(settings),
        rows_alone=settings.on_error == "row",
        on_rewrite=settings.on_rewrite,
        furnish=furnishing(how, by),
        retention=retention(settings),
    )


def retention(settings: Settings) -> Retention:
    """Return what puts away what is over on this site."""
    spool = settings.state_dir / "spool"
    return Retention(spool, settings.work_dir, quarantine=quarantine(settings), **settings.keep.model_dump())


def first_trouble(agent: Agent) -> AgentError | None:
    """Return why no inbox at all can be watched, or None when at least one can."""
    troubles = []
    for inbox in agent.inboxes:
        try:
            agent.places.ask(inbox.path, partial(guard, inbox.path, agent.ledger.ledger_id))
        except AgentError as error:
            troubles.append(error)
    return troubles[0] if len(troubles) == len(agent.inboxes) else None


def orders_in(settings: Settings) -> Path:
    """Return where orders for this site's agent are written."""
    return settings.state_dir / "orders"


def order(settings: Settings, act: Literal["retry", "cancel"], job_id: str, from_task: str | None = None) -> str:
    """Write down an order for a job; return what happens next. Raises OrderRefused when it cannot be carried out."""
    reader = open_reader(settings)
    try:
        job = reader.job(job_id)
        waits = reader.waits_to_run_again(job_id)
    finally:
        reader.close()
    if job is None:
        raise OrderRefused(f"There is no job {job_id}. 'dropbox-agent status' lists the jobs.")
    live = job.state in (JobState.ACCEPTED, JobState.RUNNING)
    if live is (act == "retry") and not (act == "retry" and waits):
        raise OrderRefused(f"Job {job_id} is {job.state.value}.")
    if from_task is not None and from_task not in {name for task in job.tasks for name in (task.key, task.task_id)}:
        names = ", ".join(task.key for task in job.tasks)
        raise OrderRefused(f"Job {job_id} has no task {from_task}. It has: {names}.")
    by = f"dropbox-agent {act}"
    orders.give(orders_in(settings), Order(act=act, job_id=job_id, from_task=from_task, asked=utc_now(), by=by))
    return f"Ordered: {act} {job_id}. The agent carries it out at its next look; if none runs, when one is started."


def inventory(settings: Settings, job_id: str) -> bytes:
    """Return what a job's upload stored, as its inventory.json has it. Raises NoInventory."""
    reader = open_reader(settings)
    try:
        job, content = reader.job(job_id), reader.inventory(job_id)
    finally:
        reader.close()
    if job is None:
        raise NoInventory(f"There is no job {job_id}. 'dropbox-agent status' lists the jobs.")
    if content is None:
        raise NoInventory(
            f"Job {job_id} is {job.state.value} and has no inventory: it is kept once upload_data_to_s3 has succeeded."
            f" That of an older upload lies beside its data only, as .dropbox-agent/{job.s3_prefix}/inventory.json."
        )
    return content


def write_template(file: Path, by: Examiner, now: datetime) -> Path:
    """Write an empty workbook to fill in; return its path. Raises DeliveryFailed."""
    deliver.write(file.parent, file.name, template.template_bytes(by.known(by.load_presets(), now)))
    return file


def manifest_schema(by: Examiner, now: datetime) -> dict[str, Any]:
    """Return the JSON Schema of this site's manifests."""
    return schema.json_schema(by.known(by.load_presets(), now))


def utc_now() -> datetime:
    """Return the present time."""
    return datetime.now(timezone.utc)
