"""Submitting and cancelling: a request becomes a manifest in the inbox, or an order; the agent does the rest.

The folder stays the one truth. What is submitted takes the road of every manifest, under the same rules.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from dropbox_agent import deliver, orders
from dropbox_agent.examine import Examination, Examiner, with_claims
from dropbox_agent.inbox import beside
from dropbox_agent.ledger import Reader
from dropbox_agent.model import JobStanding, Order
from dropbox_agent.patience import Places
from dropbox_agent.states import JobState
from dropbox_agent.web.api import requests
from dropbox_agent.web.api.access import Refused, Submitter
from dropbox_agent.web.api.receipts import Receipt, Receipts

KEY = re.compile(r"[\x21-\x7e]{1,255}")
LIVE = (JobState.ACCEPTED, JobState.RUNNING)
OTHER_BODY = "This Idempotency-Key was used for another request. Send the same request again, or take a new key."
NOT_YOURS = "This job was submitted by somebody else. Ask them, or the people who run this service."


class Unacceptable(Exception):
    """The request was read, and something in it is wrong; nothing was done."""

    def __init__(self, examination: Examination) -> None:
        self.examination = examination
        super().__init__(f"{len(examination.errors)} problems")


@dataclass
class Desk:
    """Where requests are handed in. Its methods may be called from several threads."""

    inbox: Path
    orders_folder: Path
    reader: Reader
    examiner: Examiner
    receipts: Receipts
    places: Places
    """How the share of the inbox is asked."""

    # --- submit ------------------------------------------------------------------------------------------------------

    def submit(self, body: bytes, submitter: Submitter, key: str | None, now: datetime) -> Receipt:
        """Put a request into the inbox as a manifest; return its receipt, with the ids its jobs get.

        The same body under the same key gives the same receipt, and is placed once. Raises Refused for a key that is
        none or another body's, NotARequest, Unacceptable with all problems, and AgentError when the inbox or the
        ledger is away.
        """
        name = manifest_name(submitter, _usable(key))
        receipt = self.receipts.find(name) or self._intended(name, body, submitter, now)
        if receipt.digest != hashlib.sha256(body).hexdigest():
            raise Refused(422, OTHER_BODY)
        if receipt.placed is None:
            self._place(receipt, now)
        return receipt

    def _intended(self, name: str, body: bytes, submitter: Submitter, now: datetime) -> Receipt:
        """Examine a request as the agent will, and write down that it is going to be placed."""
        content = requests.as_manifest(body, submitter.user_email)
        found = with_claims(examined(self.examiner, content, name, now), self.reader)
        if found.errors:
            raise Unacceptable(found)
        jobs = [job for job, _ in found.acceptable()]
        ids = self.reader.job_ids(self.inbox, name, hashlib.sha256(content).hexdigest(), jobs)
        named = tuple((job_id, job.s3_prefix) for job_id, job in zip(ids, jobs, strict=True))
        digest = hashlib.sha256(body).hexdigest()
        return self.receipts.intend(Receipt(name, submitter.name, digest, content, named, now))

    def _place(self, receipt: Receipt, now: datetime) -> None:
        """Put the file into the inbox, unless it is or was there: whoever was here before may have been killed."""
        if self.reader.latest(self.inbox, receipt.manifest) is None:
            beside(self.places, self.inbox, self.reader.ledger_id, partial(self._write_unless_there, receipt))
        self.receipts.placed(receipt.manifest, now)

    def _write_unless_there(self, receipt: Receipt) -> None:
        if not os.path.lexists(self.inbox / receipt.manifest):
            deliver.write(self.inbox, receipt.manifest, receipt.content)

    # --- cancel ------------------------------------------------------------------------------------------------------

    def cancel(self, job_id: str, s3_prefix: str | None, submitter: Submitter, now: datetime) -> None:
        """Order the end of a job. Raises Refused: 404 for none, 403 for somebody else's, 409 for one that has ended."""
        job = self.reader.job(job_id)
        if job is None:
            raise self._without_a_job(job_id)
        if s3_prefix is not None and s3_prefix != job.s3_prefix:
            raise Refused(409, f"Job {job_id} uploads {job.s3_prefix}, not {s3_prefix}. Nothing was cancelled.")
        if not self._may_cancel(job, submitter):
            raise Refused(403, NOT_YOURS)
        if job.state not in LIVE:
            raise Refused(409, f"Job {job_id} has ended already: {job.state.value}.")
        by = f"{submitter.name} through the API"
        orders.give(self.orders_folder, Order(act="cancel", job_id=job_id, asked=now, by=by))

    def _without_a_job(self, job_id: str) -> Refused:
        if (receipt := self.receipts.announced(job_id)) is not None:
            return Refused(409, f"Job {job_id} is not recorded yet ({receipt.manifest} is settling). Try again soon.")
        return Refused(404, f"There is no job {job_id}.")

    def _may_cancel(self, job: JobStanding, submitter: Submitter) -> bool:
        """Whoever submitted a job, whoever it tells about itself, and who may cancel everything."""
        receipt = self.receipts.find(job.manifest)
        mine = receipt is not None and receipt.submitter == submitter.name
        told = submitter.user_email is not None and (job.user_email or "").lower() == submitter.user_email.lower()
        return submitter.may_cancel_all or mine or told


def examined(examiner: Examiner, content: bytes, name: str, now: datetime, form_only: bool = False) -> Examination:
    """Return what is found in the bytes of a manifest of that name."""
    with tempfile.NamedTemporaryFile(prefix="dropbox-agent-", suffix=".manifest") as file:
        file.write(content)
        file.flush()
        judge = examiner.judge_form if form_only else examiner.examine
        return judge(Path(file.name), name, now)


def manifest_name(submitter: Submitter, key: str) -> str:
    """Return the name of the manifest that a submitter's key stands for; the same whenever it is asked."""
    digest = hashlib.sha256(f"{submitter.name}\0{key}".encode()).hexdigest()
    return f"api-{re.sub(r'[^a-z0-9]+', '-', submitter.name.lower()).strip('-')[:40]}-{digest[:24]}.json"


def as_json(receipt: Receipt) -> Mapping[str, object]:
    """Return a receipt as the API answers it."""
    return {
        "manifest": receipt.manifest,
        "jobs": [{"job_id": job_id, "s3_prefix": s3_prefix} for job_id, s3_prefix in receipt.jobs],
    }


def _usable(key: str | None) -> str:
    if key is None:
        return uuid.uuid4().hex
    if not KEY.fullmatch(key):
        raise Refused(400, "An Idempotency-Key has 1 to 255 visible ASCII characters, for example a UUID.")
    return key
