"""Ask slurmrestd: over a socket of this machine or over the network, as the account that the token is for."""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Collection, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dropbox_agent.executors.slurm.jobs import (
    JobRecord,
    JobRequest,
    NoAccounting,
    Partition,
    Refused,
    SlurmJob,
    Unanswered,
    Why,
)
from dropbox_agent.executors.slurm.refusals import why_refused
from dropbox_agent.executors.slurm.rest import answers, description
from dropbox_agent.executors.slurm.rest.texts import CannotAsk
from dropbox_agent.executors.slurm.rest.token import NoToken, Token, account_of
from dropbox_agent.executors.slurm.rest.versions import SPOKEN, Api, agreed, offered
from dropbox_agent.executors.slurm.states import STATES, UNKNOWN, Stand

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 30.0
"""How long an answer may take: as long as a command."""
CONNECT_SECONDS = 5.0
POLICY = "Job violates accounting/QOS policy"
"""What slurmrestd says of a limit, whichever it is; sbatch says before which."""
GONE = ("Invalid job id", "already completing or completed")
"""What is said of a job that has ended meanwhile."""


class _NotAsked(Exception):
    """Nobody was asked; the text says why."""


class _NoAnswer(Exception):
    """Somebody may have been asked, and did not answer; the text says how."""


class SlurmRest:
    """A cluster behind a slurmrestd."""

    def __init__(
        self, url: str, token: Token, account: str, *, user: str | None = None, seconds: float = ANSWER_SECONDS
    ) -> None:
        """``account`` is the agent's own: whose jobs they are when neither ``user`` nor the token says."""
        self._url = url
        self._token = token
        self._account = account
        self._user = user
        self._seconds = seconds
        self._trusted: ssl.SSLContext | None = None
        self._api: Api | None = None
        self._told: set[str] = set()

    # --- what a way to a cluster is asked ----------------------------------------------------------------------------

    def submit(self, request: JobRequest) -> str:
        """Hand a job over; return its id. Raises Refused."""
        try:
            api = self._agreed()
            status, answer = self._ask("POST", _path(api, "job/submit"), json=description.body(api, request))
        except CannotAsk as unknown:
            raise Refused(Why.NEVER, str(unknown)) from unknown
        except _NotAsked as why:
            raise Refused(Why.UNREACHABLE, str(why)) from why
        except _NoAnswer as why:
            raise Refused(Why.UNSURE, str(why)) from why
        self._tell(answers.warnings_in(answer))
        job_id = answers.job_id_in(answer)
        if job_id is None:
            words = answers.words_in(answer)
            raise Refused(self._why(status, words), words)
        return job_id

    def jobs(self) -> list[SlurmJob]:
        """Return every job of this account that Slurm still knows, ended ones too. Raises Unanswered."""
        answer = self._answer("GET", "slurm", "jobs")
        if not isinstance(answer.get("jobs"), list):
            raise Unanswered("what slurmrestd answered has no list of jobs")
        return answers.jobs_in(answer, self._whose())

    def cancel(self, name: str, hard: bool) -> None:
        """End every job of that name; ``hard``: without asking it first. Raises Unanswered."""
        live = (job.job_id for job in self.jobs() if job.name == name and _lives(job))
        for job_id in dict.fromkeys(live):
            self._end(job_id, hard)

    def records(self, names: Collection[str], since: datetime) -> list[JobRecord]:
        """Return what the accounting has of the jobs of these names. Raises Unanswered, or NoAccounting."""
        # "uts" says that seconds since 1970 follow; without it v0.0.38 takes only the time of slurmrestd's clock.
        asked = {"job_name": ",".join(sorted(names)), "start_time": f"uts{int(since.timestamp())}"}
        return answers.records_in(self._answer("GET", "slurmdb", "jobs", params=asked), self._whose())

    def partitions(self) -> list[Partition]:
        """Return the partitions. Raises Unanswered."""
        return answers.partitions_in(self._answer("GET", "slurm", "partitions"))

    def qualities(self) -> list[str]:
        """Return the names of every QOS. Raises Unanswered, or NoAccounting."""
        return answers.qualities_in(self._answer("GET", "slurmdb", "qos"))

    # --- parts -------------------------------------------------------------------------------------------------------

    def _why(self, status: int, words: str) -> Why:
        """Return why a job was not taken. What is wrong with a request (400) was never handed on to Slurm."""
        why = why_refused(1, words)
        if why is Why.UNSURE and status == 400:
            return Why.NEVER
        return Why.FULL if why is Why.NEVER and POLICY in words and self._has_live_jobs() else why

    def _has_live_jobs(self) -> bool:
        """Return whether a limit on jobs may be what was meant: some of this account wait or run."""
        try:
            return any(_lives(job) for job in self.jobs())
        except Unanswered:
            return True

    def _end(self, job_id: str, hard: bool) -> None:
        # Without a signal Slurm asks with TERM and kills some time later; so it does when it is asked to KILL (22.05).
        params = {"signal": "KILL"} if hard else {}
        try:
            status, answer = self._ask("DELETE", f"{self._base()}/job/{quote(job_id)}", params=params)
        except (_NotAsked, _NoAnswer) as why:
            raise Unanswered(f"slurmrestd did not end job {job_id}: {why}") from why
        words = answers.words_in(answer)
        if status >= 400 and not any(gone in words for gone in GONE):
            raise Unanswered(words)

    def _answer(self, method: str, part: str, name: str, **more: Any) -> answers.Json:
        """Ask for something; return what was answered. Raises Unanswered."""
        try:
            path = self._agreed().path(part, name)
            if path is None and part == "slurmdb":
                raise NoAccounting("slurmrestd has no accounting (slurmdb) to ask")
            status, answer = self._ask(method, path or f"{self._base()}/{name}", **more)
        except (_NotAsked, _NoAnswer) as why:
            raise Unanswered(str(why)) from why
        if status != 200 or answer.get("errors"):
            raise Unanswered(answers.words_in(answer))
        return answer

    def _base(self) -> str:
        return f"/slurm/{self._agreed().version}"

    def _agreed(self) -> Api:
        """Return the version of the API that is spoken here; it is agreed once, and again when it is gone."""
        if self._api is None:
            _, answer = self._ask("GET", "/openapi/v3")
            self._api = agreed(answer)
            if self._api is None:
                there = ", ".join(offered(answer)) or "no version"
                raise _NotAsked(f"slurmrestd speaks {there}, and this program {', '.join(reversed(SPOKEN))}")
        return self._api

    def _ask(self, method: str, path: str, **more: Any) -> tuple[int, answers.Json]:
        """Send one request; return its status and what was answered."""
        import httpx

        headers = self._headers()
        try:
            with self._client() as client:
                answer = client.request(method, path, headers=headers, **more)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as error:
            raise _NotAsked(f"slurmrestd at {self._url} cannot be reached: {error}") from None
        except httpx.TimeoutException:
            raise _NoAnswer(f"slurmrestd did not answer within {self._seconds:g} s") from None
        except httpx.HTTPError as error:
            raise _NoAnswer(f"slurmrestd broke off: {error}") from None
        return self._read(answer)

    def _read(self, answer: httpx.Response) -> tuple[int, answers.Json]:
        if answer.status_code in (401, 403):
            raise _NotAsked(f"slurmrestd does not let this account in ({answer.status_code}): check the token")
        try:
            content = answer.json()
        except (json.JSONDecodeError, UnicodeDecodeError):
            content = None
        if isinstance(content, Mapping):
            return answer.status_code, content
        if answer.status_code == 404:
            self._api = None
            raise _NotAsked("slurmrestd does not know this version of its API any more")
        raise _NoAnswer(f"slurmrestd answered {answer.status_code} {answer.reason_phrase}, and no JSON".strip())

    def _headers(self) -> dict[str, str]:
        try:
            token = self._token.read(datetime.now(timezone.utc))
        except NoToken as none:
            raise _NotAsked(str(none)) from none
        given = {} if token is None else {"X-SLURM-USER-TOKEN": token, "X-SLURM-USER-NAME": self._named(token)}
        return {"Accept": "application/json", **given}

    def _whose(self) -> str:
        """Return the account whose jobs are this agent's. Raises Unanswered."""
        try:
            token = self._token.read(datetime.now(timezone.utc))
        except NoToken as none:
            raise Unanswered(str(none)) from none
        return self._named(token)

    def _named(self, token: str | None) -> str:
        return self._user or (account_of(token) if token else None) or self._account

    def _client(self) -> httpx.Client:
        """Return a client for one question: a connection that is kept may be gone when a job is handed over."""
        import httpx

        times = httpx.Timeout(self._seconds, connect=min(CONNECT_SECONDS, self._seconds))
        base, socket = _where(self._url)
        if base.startswith("https:") and self._trusted is None:
            self._trusted = ssl.create_default_context()
        # The environment's proxies are for the world outside, not for the cluster.
        transport = httpx.HTTPTransport(uds=socket, verify=self._trusted or False)
        return httpx.Client(base_url=base, transport=transport, timeout=times, trust_env=False)

    def _tell(self, warnings: list[str]) -> None:
        for words in warnings:
            if words not in self._told:
                self._told.add(words)
                logger.warning("slurmrestd warns: %s", words, extra={"action": "slurm"})


def _path(api: Api, name: str) -> str:
    path = api.path("slurm", name)
    assert path is not None, name
    return path


def _where(url: str) -> tuple[str, str | None]:
    """Return the base of every address, and the path of the socket if it is one."""
    return ("http://localhost", url.removeprefix("unix:")) if url.startswith("unix:") else (url.rstrip("/"), None)


def _lives(job: SlurmJob) -> bool:
    return STATES.get(job.state, UNKNOWN).stand is not Stand.OVER
