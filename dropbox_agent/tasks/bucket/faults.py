"""What S3 answers, in words: what happened, who can mend it, and whether it may pass by itself."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import urllib3.exceptions
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

FAILURES = (
    boto.BotoCoreError,
    boto.ClientError,
    boto.HTTPClientError,
    ResponseParserError,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
)
"""What a request may end in. Anything else is a mistake of ours."""


class NoAnswerOfS3(boto.BotoCoreError):  # type: ignore[misc]
    """A proxy, or a page that asks to log in, answered in the place of S3."""

    fmt = "what came back is no answer of S3"


@dataclass(frozen=True)
class Fault:
    """Why a request was not done."""

    code: str
    words: str
    advice: str
    passes: bool = False
    """It may pass by itself, so the request is tried again."""
    tries: int | None = None
    """After so many tries it is no accident any more; None: until it is time to give up."""


OPERATOR = "An operator has to look at it; then the job can be retried."
LATER = "When it is tried again later, what has arrived is not sent again."
KEYS = "An operator has to give the agent's account valid keys (s3 in agent.yaml says where they are looked for)."
WRONG_CHECKSUM_TRIES = 3

_BY_CODE: Mapping[str, tuple[str, str]] = {
    "NoSuchBucket": ("there is no such bucket", "An operator has to make it, or to correct buckets in agent.yaml."),
    "AccessDenied": (
        "access is denied",
        "An operator has to allow the agent's account to list, read and write there (s3:ListBucket, s3:GetObject,"
        " s3:PutObject).",
    ),
    "InvalidAccessKeyId": ("the access key is not known there", KEYS),
    "SignatureDoesNotMatch": ("the secret key is wrong", KEYS),
    "ExpiredToken": ("the credentials have expired", KEYS),
    "InvalidToken": ("the credentials are not valid there", KEYS),
    "RequestTimeTooSkewed": (
        "the clocks of this machine and of the server differ too much",
        "An operator has to set this machine's clock; then the job can be retried.",
    ),
    "PermanentRedirect": (
        "the bucket is in another region",
        "An operator has to name its region under s3 in agent.yaml.",
    ),
    "AuthorizationHeaderMalformed": (
        "the bucket is in another region",
        "An operator has to name its region under s3 in agent.yaml.",
    ),
    "EntityTooLarge": ("the file is larger than the server takes", OPERATOR),
    "QuotaExceeded": ("the quota of the bucket is used up", "An operator has to make room there."),
    "XMinioStorageFull": ("the storage is full", "An operator has to make room there."),
}
_BY_STATUS: Mapping[int, str] = {
    301: "PermanentRedirect",
    307: "PermanentRedirect",
    401: "AccessDenied",
    403: "AccessDenied",
    404: "NoSuchBucket",
    413: "EntityTooLarge",
}
_WRONG_CHECKSUM = frozenset(
    {"BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "IncompleteBody"}
)
_SLOW = frozenset(
    {"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "BandwidthLimitExceeded",
     "TooManyRequests", "TooManyRequestsException", "RequestThrottled", "SlowDownRead", "SlowDownWrite"}
)  # fmt: skip
_PASSING = frozenset({"InternalError", "ServiceUnavailable", "RequestTimeout", "OperationAborted", "Busy"})


def judged(error: BaseException) -> Fault:
    """Return what an error of a request means."""
    if isinstance(error, boto.ClientError):
        return _answered(error.response)
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError)):
        return Fault("NoCredentials", "no credentials were found", KEYS)
    if isinstance(error, (boto.ProfileNotFound, boto.ConfigParseError, boto.ConfigNotFound)):
        return Fault("NoProfile", f"the profile or its file cannot be used ({_one_line(error)})", KEYS)
    if isinstance(error, (boto.NoRegionError, boto.InvalidRegionError)):
        return Fault("NoRegion", "no region is named", "An operator has to name it under s3 in agent.yaml.")
    if isinstance(error, boto.SSLError):
        advice = "An operator has to correct endpoint_url, or to name the authority in ca_file (s3 in agent.yaml)."
        return Fault("NotTrusted", f"the server's certificate is not trusted ({_one_line(error)})", advice)
    if isinstance(error, (ResponseParserError, NoAnswerOfS3)):
        return Fault("HalfAnswer", "the server answered something that is no answer of S3", LATER, passes=True)
    return Fault(type(error).__name__, _unanswered(error), LATER, passes=True)


def _answered(response: Mapping[str, Any]) -> Fault:
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    if code in _WRONG_CHECKSUM:
        words = "the server says that what arrived is not what was sent (wrong checksum)"
        return Fault(code, words, OPERATOR, passes=True, tries=WRONG_CHECKSUM_TRIES)
    if code in _SLOW or status == 429:
        return Fault(code or "SlowDown", "the server asks to be asked less often", LATER, passes=True)
    if code in _PASSING or status >= 500 or status == 408:
        return Fault(code or str(status), f"the server has trouble of its own ({_said(response)})", LATER, passes=True)
    known = _BY_CODE.get(code) or _BY_CODE.get(_BY_STATUS.get(status, ""))
    if known is not None:
        return Fault(code, f"{known[0]} ({_said(response)})", known[1])
    return Fault(code, f"the server refused ({_said(response)})", OPERATOR)


def _said(response: Mapping[str, Any]) -> str:
    error = response.get("Error", {})
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return " ".join(dict.fromkeys(str(part) for part in (status, error.get("Code")) if part))


def _unanswered(error: BaseException) -> str:
    if isinstance(error, (boto.ReadTimeoutError, boto.ConnectTimeoutError, TimeoutError)):
        return "the server did not answer in time"
    if isinstance(error, boto.EndpointConnectionError):
        return "the server cannot be reached"
    return f"the connection was cut ({type(error).__name__})"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
