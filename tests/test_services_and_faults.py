"""Every service and what goes wrong with it, in one table: what is said, whether it passes, what becomes of the work.

Each row also shows that no credential is in the sentence, though the service repeats all it was sent, and that the same
work ends well once the service does.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import aws_server
import boto3
import code_ocean_server
import docdb_server
import mail_server
import metadata_server
import pytest
import yaml
from code_ocean_server import TOKEN
from fault_proxy import Fault, proxied
from http_server import Faulty, Reply, Request, passed_on, serving
from mail_server import HOST, PASSWORD, USERNAME
from one_job import CONTENT, OneJob, write
from s3_server import SECRET as S3_SECRET
from s3_server import Place

from dropbox_agent import assembly, deliver, founding, projects, settings
from dropbox_agent.errors import AgentError, TaskFailed
from dropbox_agent.model import CodeOceanAccess, DocDbAccess, Mail, Secret
from dropbox_agent.presets import store as parameter_store
from dropbox_agent.report import MailText
from dropbox_agent.tasks import code_ocean, metadata_service, update_docdb_record

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
STORE_SECRET = aws_server.CREDENTIALS["AWS_SECRET_ACCESS_KEY"]
SECRETS = (S3_SECRET, TOKEN, docdb_server.SECRET, STORE_SECRET, PASSWORD)
NOBODY = "http://127.0.0.1:9"
PREFIX = "/lab/job_types"
WELL = "well"


@dataclass(frozen=True)
class Told:
    """What came of a piece of work."""

    words: str
    passes: bool
    """Whether it may end well later without anybody correcting anything, or the agent goes on trying."""
    state: str


Work = Callable[[str], Told]
"""Does the work of a service while this goes wrong with it; ``well``: nothing does."""


class Site:
    """What services are made with in one test."""

    answer_seconds = 60.0
    """How long an answer is waited for: only of what hangs it may be short, for this machine may be busy."""

    def __init__(self, job: OneJob, folder: Path, patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
        self.job, self.folder, self.patch, self.stack = job, folder, patch, stack

    def quick(self, module: Any) -> None:
        """Make a module's service as patient as this, and let it ask twice, without a pause."""
        made = module.service

        def quick(*words: Any) -> Any:
            return replace(made(*words), answer_seconds=self.answer_seconds, tries=2, sleep=lambda _: None)

        self.patch.setattr(module, "service", quick)

    def secret(self, name: str, value: str) -> Secret:
        file = self.folder / name
        file.write_text(value)
        return Secret(name=name, file=file)

    def aws(self, key: str, secret: str) -> None:
        for name, value in {
            **aws_server.CREDENTIALS,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
        }.items():
            self.patch.setenv(name, value)
        self.patch.setenv("AWS_SESSION_TOKEN", "session-of-the-tests")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(OneJob.in_folder(tmp_path), tmp_path, monkeypatch, stack)


# --- what goes wrong over HTTP ---------------------------------------------------------------------------------------


def repeats(request: Request) -> Reply:
    """A gateway in bad taste says again what it was sent."""
    return Reply(403, f"not you: {dict(request.headers)}".encode())


REPLIES: dict[str, Callable[[Request], Reply]] = {
    "slow": lambda _: Reply(after_seconds=60),
    "dripping": lambda _: Reply(body=b" " * 10_000, byte_seconds=0.2),
    "4xx": repeats,
    "5xx": lambda _: Reply(503, b'{"message": "down"}'),
    "throttled": lambda _: Reply(429),
    "half an answer": lambda _: Reply(body=b'{"results": []}' + b" " * 50, cut_after=9),
    "garbage": lambda _: Reply(body=b"<html>log in</html>", kind="text/html"),
}


class Spoiled:
    """A server that goes wrong as it is told, and the address to ask: where nobody listens, when it is unreachable."""

    def __init__(self, server: Faulty, replies: dict[str, Callable[[Request], Reply]] = REPLIES) -> None:
        self.server, self.good, self.replies = server, server.behaves, replies

    def by(self, fault: str) -> str:
        self.server.behaves = self.replies.get(fault, self.good)
        return NOBODY if fault == "unreachable" else self.server.url


# --- tasks of a job --------------------------------------------------------------------------------------------------


def ran(job: OneJob, task: str, **changes: Any) -> Told:
    try:
        outcome = job.run(task, **changes)
    except TaskFailed as failed:
        return Told(str(failed), failed.passes, "failed")
    return Told(outcome.message, False, outcome.state)


def s3(site: Site, place: Place) -> Work:
    write(site.job.ecephys, CONTENT)
    site.job.staged()
    acts = {"slow": "slow", "4xx": "403 AccessDenied", "5xx": "500 InternalError", "throttled": "503 SlowDown"}
    acts |= {"half an answer": "half", "garbage": "junk"}

    def work(fault: str) -> Told:
        with proxied(place.server.endpoint) as proxy:
            if fault in acts:
                proxy.faults.append(Fault(acts[fault], "GET", "list-type=2"))
            at = NOBODY if fault == "unreachable" else proxy.endpoint
            give_up_seconds = 20.0 if fault == WELL else 0.5
            patience = {"give_up_seconds": give_up_seconds, "request_seconds": site.answer_seconds}
            access = place.access(endpoint_url=at, **patience)
            return ran(site.job, "upload_data_to_s3", bucket=place.address, s3=access)

    return work


def metadata(site: Site) -> Work:
    spoiled = Spoiled(site.stack.enter_context(serving(metadata_server.answer)))
    site.quick(metadata_service)
    site.job.run("create_staging_folder")
    write(site.job.metadata, {"data_description.json": b"{}"})
    facts = {"metadata_dir": site.job.metadata, "metadata_required": True}
    return lambda fault: ran(site.job, "gather_preliminary_metadata", metadata_service=spoiled.by(fault), **facts)


def codeocean(site: Site) -> Work:
    server = site.stack.enter_context(code_ocean_server.running())
    spoiled, token = Spoiled(server.faulty), site.secret("codeocean.token", TOKEN)
    site.quick(code_ocean)
    server.looks_needed = 1

    def work(fault: str) -> Told:
        access = CodeOceanAccess(domain=spoiled.by(fault), token=token)
        return ran(site.job, "register_data_asset_to_codeocean", bucket="s3://lab-data", codeocean=access)

    return work


def docdb(site: Site) -> Work:
    spoiled = Spoiled(site.stack.enter_context(docdb_server.running()).faulty)
    site.quick(update_docdb_record)
    site.aws(docdb_server.KEY, docdb_server.SECRET)
    site.patch.delenv("AWS_SESSION_TOKEN")

    def work(fault: str) -> Told:
        access = DocDbAccess(host=spoiled.by(fault), region=docdb_server.REGION)
        return ran(site.job, "update_docdb_record", bucket="s3://lab-data", docdb=access)

    return work


# --- what the agent itself asks --------------------------------------------------------------------------------------


def configured(site: Site, **changes: Any) -> settings.Settings:
    config = site.folder / "site" / "agent.yaml"
    if not config.exists():
        founding.initialise(config.parent, NOW)
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **changes}))
    return settings.load(config, {})


def known(ask: Callable[[], Any], trouble: Callable[[Any], str | None]) -> Told:
    try:
        answer = ask()
    except AgentError as error:
        return Told(str(error), True, "nothing is judged")
    words = trouble(answer)
    return Told(words or "", words is not None, "the last ones are used" if words else "succeeded")


def project_names(site: Site) -> Work:
    names = Reply(body=b'["Ephys Platform"]')
    spoiled = Spoiled(site.stack.enter_context(serving(lambda _: names)))
    fetch = projects.fetch

    def work(fault: str) -> Told:
        site.patch.setattr(projects, "fetch", partial(fetch, seconds=site.answer_seconds))
        ask = assembly.project_names(configured(site, projects_url=spoiled.by(fault)))
        assert ask is not None
        return known(ask, lambda answer: answer.trouble)

    return work


def refusal(code: str, status: int = 400) -> Callable[[Request], Reply]:
    kind = "application/x-amz-json-1.1"
    return lambda asked: Reply(status, f'{{"__type": "{code}", "message": "{_quoted(asked)}"}}'.encode(), kind)


def _quoted(asked: Request) -> str:
    return str(dict(asked.headers)).replace('"', "'").replace("\\", "")


PARAMETER_STORE = {
    **REPLIES,
    "4xx": refusal("AccessDeniedException"),
    "5xx": refusal("InternalServerError", 500),
    "throttled": refusal("ThrottlingException"),
    "half an answer": lambda _: Reply(body=b'{"Parameters": [{"Name"' + b" " * 90, cut_after=20),
}


def job_types(site: Site) -> Work:
    aws = site.stack.enter_context(aws_server.running())
    site.aws("AKIATESTTESTTESTTEST", STORE_SECRET)
    site.patch.setattr(parameter_store, "TRIES", 2)
    client = boto3.client("ssm", endpoint_url=aws, region_name="us-west-2")
    client.put_parameter(Name=f"{PREFIX}/v2/ecephys/tasks/upload_data_to_s3", Value="{}", Type="String")
    spoiled = Spoiled(site.stack.enter_context(serving(passed_on(aws))), PARAMETER_STORE)

    def work(fault: str) -> Told:
        site.patch.setattr(parameter_store, "ANSWER_SECONDS", site.answer_seconds)
        at = {"kind": "ssm", "prefix": PREFIX, "region": "us-west-2", "endpoint_url": spoiled.by(fault)}
        return known(assembly.job_types(configured(site, presets=at)), lambda stored: stored.trouble)

    return work


def says(words: bytes) -> Callable[[socket.socket, Any], None]:
    return lambda connection, over: connection.sendall(words)


CONNECTIONS = {
    "slow": mail_server.silent,
    "dripping": mail_server.drips,
    "5xx": says(b"554 5.3.2 closed for today\r\n"),
    "throttled": mail_server.busy,
    "half an answer": mail_server.half_an_answer,
    "garbage": says(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
}


def mail(site: Site) -> Work:
    known_as = Mail(mail_id=1, drop_id=1, number=1, kind="end", to="anna@example.org", job_id=None, created=NOW)
    message = deliver.message(known_as, MailText("Upload ended", "Well.\n", "<p>Well.</p>\n"), "up@example.org", "it")
    letter = deliver.Letter(known_as, site.folder, "session.xlsx", message)
    password = site.secret("mail.password", PASSWORD)

    def handed(port: int) -> Told:
        server = deliver.MailServer(HOST, port, "none", USERNAME, password, timeout_seconds=site.answer_seconds)
        post = deliver.SmtpPost(server, {}, longest_seconds=2 * site.answer_seconds)
        post.send([letter])
        post.close(100)
        (answer,) = post.answers()
        if answer.trouble is None:
            return Told("", False, "succeeded")
        return Told(answer.trouble, not answer.final, "kept beside the manifest" if answer.final else "waits")

    def work(fault: str) -> Told:
        if fault == "unreachable":
            return handed(mail_server.free_port())
        if fault in CONNECTIONS:
            with mail_server.broken(CONNECTIONS[fault]) as port:
                return handed(port)
        with mail_server.running(login=True) as server:
            server.answers = {"anna@example.org": "550 5.1.1 no such user"} if fault == "4xx" else {}
            return handed(server.port)

    return work


# --- the table -------------------------------------------------------------------------------------------------------

SERVICES: dict[str, Callable[[Site], Work]] = {
    "metadata service": metadata,
    "Code Ocean": codeocean,
    "DocDB": docdb,
    "project names": project_names,
    "Parameter Store": job_types,
    "mail": mail,
}
PASSES, STAYS = True, False
ASKED_TWICE = "2 times. Retry the job when it is back; what has been done is not done twice."
OF_TASKS = {
    "unreachable": ("cannot be reached", PASSES, "failed"),
    "slow": (f"did not answer within 1 s, {ASKED_TWICE}", PASSES, "failed"),
    "dripping": (f"did not answer within 1 s, {ASKED_TWICE}", PASSES, "failed"),
    "4xx": ("refused: 403 (not you: ", STAYS, "failed"),
    "5xx": (f"answered 503 (down), {ASKED_TWICE}", PASSES, "failed"),
    "throttled": (f"asks to be asked less often (429), {ASKED_TWICE}", PASSES, "failed"),
    "half an answer": ("hung up before it had answered", PASSES, "failed"),
    "garbage": (f"answered something that is not JSON, {ASKED_TWICE}", PASSES, "failed"),
}
S3_LATER = "When it is tried again later, what has arrived is not sent again."
NOT_YET = "nothing is judged"
TABLE: dict[str, dict[str, tuple[str, bool, str]]] = {
    "S3": {
        "unreachable": ("the server cannot be reached", PASSES, "failed"),
        "slow": ("the server did not answer in time", PASSES, "failed"),
        "4xx": ("access is denied (403 AccessDenied). An operator has to allow", STAYS, "failed"),
        "5xx": ("the server has trouble of its own (500 InternalError)", PASSES, "failed"),
        "throttled": ("the server asks to be asked less often", PASSES, "failed"),
        "half an answer": (S3_LATER, PASSES, "failed"),
        "garbage": ("the server answered something that is no answer of S3", PASSES, "failed"),
    },
    "metadata service": OF_TASKS,
    "Code Ocean": OF_TASKS,
    "DocDB": OF_TASKS,
    "project names": {
        "unreachable": ("it cannot be reached, or hung up", PASSES, NOT_YET),
        "slow": ("it did not answer within 1 s", PASSES, NOT_YET),
        "dripping": ("it did not answer within 1 s", PASSES, NOT_YET),
        "4xx": ("it answered 403 Forbidden", PASSES, NOT_YET),
        "5xx": ("it answered 503 Service Unavailable", PASSES, NOT_YET),
        "throttled": ("it answered 429 Too Many Requests", PASSES, NOT_YET),
        "half an answer": ("it cannot be reached, or hung up", PASSES, NOT_YET),
        "garbage": ("what came back is not JSON", PASSES, NOT_YET),
    },
    "Parameter Store": {
        "unreachable": ("AWS cannot be reached", PASSES, NOT_YET),
        "slow": ("AWS did not answer within 1 s, after 2 tries", PASSES, NOT_YET),
        "4xx": ("these credentials may not do it; they need ssm:GetParametersByPath", PASSES, NOT_YET),
        "5xx": ("AWS answered InternalServerError", PASSES, NOT_YET),
        "throttled": ("AWS asks to be asked less often, after 2 tries (ThrottlingException)", PASSES, NOT_YET),
        "half an answer": ("what came back cannot be used", PASSES, NOT_YET),
        "garbage": ("what came back cannot be used", PASSES, NOT_YET),
    },
    "mail": {
        "unreachable": ("cannot be reached (Connection refused). It will be tried again.", PASSES, "waits"),
        "slow": ("did not answer within 1 s. It will be tried again.", PASSES, "waits"),
        "dripping": ("closed the connection in the middle. It will be tried again.", PASSES, "waits"),
        "4xx": ("does not take mail for this address (550 5.1.1 no such user). The mail is kept as", STAYS,
                "kept beside the manifest"),
        "5xx": ("refused (554 5.3.2 closed for today). It will be tried again.", PASSES, "waits"),
        "throttled": ("refused (421 4.7.0 Too many connections, come back later). It will be", PASSES, "waits"),
        "half an answer": ("closed the connection in the middle. It will be tried again.", PASSES, "waits"),
        "garbage": ("It will be tried again.", PASSES, "waits"),
    },
}  # fmt: skip
"""Service -> what goes wrong -> a part of the sentence, whether it passes, and what becomes of the work.

The agent asks again by itself for what it needs to judge manifests; until the first answer it judges none, and later it
uses the last one (test_projects, test_presets_store).
"""
ROWS = [(name, fault, *row) for name, rows in TABLE.items() for fault, row in rows.items()]
HANGS = {"slow", "dripping"}
FAULTS = {"unreachable", "slow", "4xx", "5xx", "throttled", "half an answer"}


def test_the_table_has_every_fault_of_every_service() -> None:
    assert TABLE.keys() == {"S3", *SERVICES}
    assert [(name, fault) for name, rows in TABLE.items() for fault in FAULTS - rows.keys()] == []


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize(
    ("name", "fault", "words", "passes", "state"), ROWS, ids=[f"{row[0]}: {row[1]}" for row in ROWS]
)
def test_each_fault_is_told_classed_and_got_over(
    site: Site, request: pytest.FixtureRequest, name: str, fault: str, words: str, passes: bool, state: str
) -> None:
    work = s3(site, request.getfixturevalue("strict")) if name == "S3" else SERVICES[name](site)
    with site.patch.context() as impatient:
        if fault in HANGS:
            impatient.setattr(site, "answer_seconds", 1)
        told = work(fault)
    assert words in told.words
    assert (told.passes, told.state) == (passes, state)
    assert [secret for secret in SECRETS if secret in told.words] == []
    again = work(WELL)
    assert again.state == "succeeded", again
