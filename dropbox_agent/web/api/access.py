"""Who asks: a token in the Authorization header, or what a trusted proxy says. Cookies are never looked at."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

CLOSED = (
    "Submitting through the API is closed here (api.submit in agent.yaml). Drop the manifest into the watched folder."
)
NO_TOKEN = "Send your token: Authorization: Bearer TOKEN. The people who run this service make one for you."
WRONG_TOKEN = "This token is not known here; it may have been revoked. Ask the people who run this service for another."
FOREIGN = "This was sent by a page of another site, so nothing was done."
USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")
"""What a proxy may call somebody; it becomes part of a file's name."""
ADDRESS = re.compile(r"[^@\s,;<>\"]{1,64}@[^@\s,;<>\"]{1,255}")


class Refused(Exception):
    """Who asks may not do this; the code is HTTP's, the message says what would be right."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass(frozen=True)
class Token:
    """What is known of one token: everything but the token."""

    name: str
    sha256: str
    user_email: str | None = None
    may_cancel_all: bool = False


@dataclass(frozen=True)
class Proxy:
    """A web server in front of this one that says who asks."""

    networks: tuple[str, ...]
    user_header: str
    email_header: str | None = None
    origins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Submitter:
    """Who submits or cancels."""

    name: str
    """``rig-3`` for a token, ``user anna`` for somebody the proxy named."""
    user_email: str | None = None
    may_cancel_all: bool = False


@dataclass(frozen=True)
class Access:
    """Who may submit and cancel."""

    submit: bool = False
    tokens: tuple[Token, ...] = ()
    proxy: Proxy | None = None

    def submitter(self, headers: Mapping[str, str], peer: str | None) -> Submitter:
        """Return who asks; header names are in lower case. Raises Refused: 403 while closed, 401 for a stranger."""
        if not self.submit:
            raise Refused(403, CLOSED)
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self._of_token(token.strip())
        if self.proxy is not None and _is_in(peer, self.proxy.networks):
            return _of_proxy(self.proxy, headers)
        raise Refused(401, NO_TOKEN)

    def visitor(self, headers: Mapping[str, str], peer: str | None) -> str:
        """Return for whom a request that needs no name is counted: whom a proxy names, else the address it is from."""
        if self.proxy is not None and _is_in(peer, self.proxy.networks):
            user = headers.get(self.proxy.user_header.lower(), "").strip()
            if USER.fullmatch(user):
                return f"name user {user}"
        return f"peer {peer}"

    def _of_token(self, token: str) -> Submitter:
        digest = fingerprint(token)
        # Every token is compared, in constant time: how long it takes tells nothing.
        known = [one for one in self.tokens if hmac.compare_digest(one.sha256, digest)]
        if not known:
            raise Refused(401, WRONG_TOKEN)
        return Submitter(known[0].name, known[0].user_email, known[0].may_cancel_all)


def fingerprint(token: str) -> str:
    """Return what is kept of a token. It has 256 random bits, so a plain hash cannot be turned back."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _of_proxy(proxy: Proxy, headers: Mapping[str, str]) -> Submitter:
    user = headers.get(proxy.user_header.lower(), "").strip()
    if not USER.fullmatch(user):
        raise Refused(401, NO_TOKEN)
    # The proxy's log-in may travel in a cookie, which a browser also sends for a page of another site.
    origin = headers.get("origin")
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") or origin not in (None, *proxy.origins):
        raise Refused(403, FOREIGN)
    email = headers.get(proxy.email_header.lower(), "").strip() if proxy.email_header else ""
    return Submitter(f"user {user}", email if ADDRESS.fullmatch(email) else None)


def _is_in(peer: str | None, networks: tuple[str, ...]) -> bool:
    try:
        address = ip_address(peer or "")
    except ValueError:
        return False
    return any(address in ip_network(network) for network in networks)
