"""Who may submit and cancel through the API."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from dropbox_agent.settings.kinds import MailAddress, Number, Section, Switch, WebAddress

TOKEN_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


def _token_name(value: str) -> str:
    if not TOKEN_NAME.fullmatch(value):
        raise ValueError("is not a name for a token; use at most 40 lower-case letters, digits and dashes")
    return value


def _sha256(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError("is not a sha256: 64 digits and letters a to f; 'dropbox-agent token NAME' prints it")
    return value


def _network(value: str) -> str:
    try:
        ip_network(value)
    except ValueError:
        raise ValueError("is not an address or network, such as 127.0.0.1 or 10.0.0.0/24") from None
    return value


def _header_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", value):
        raise ValueError("is not the name of an HTTP header")
    return value


TokenName = Annotated[str, AfterValidator(_token_name)]
Sha256 = Annotated[str, AfterValidator(_sha256)]
Network = Annotated[str, AfterValidator(_network)]
HeaderName = Annotated[str, AfterValidator(_header_name)]


class Token(Section):
    """Somebody who may submit through the API; 'dropbox-agent token NAME' makes one."""

    name: TokenName = Field(
        description="Who it is for: a person, a rig or a script; it stands in the names of their manifests."
    )
    sha256: Sha256 = Field(description="The sha256 of the token; the token itself is written down nowhere.")
    user_email: MailAddress | None = Field(
        None, description="Who is told about the jobs it submits that name no address; null: mail.default_to."
    )
    may_cancel: Literal["own", "all"] = Field(
        "own", description="own: the jobs it submitted and those of its user_email; all: every job."
    )


class Proxy(Section):
    """A web server in front of this one that knows who asks."""

    addresses: tuple[Network, ...] = Field(
        (), description="The addresses the proxy asks from, such as 127.0.0.1 or 10.0.0.0/24; empty: none is believed."
    )
    user_header: HeaderName = Field("X-Remote-User", description="The header in which it says who asks.")
    email_header: HeaderName | None = Field(
        None, description="The header in which it says their mail address; null: it does not."
    )
    origins: tuple[WebAddress, ...] = Field(
        (), description="The addresses of this service as people's browsers see it; pages of other sites are refused."
    )


class Api(Section):
    """Submitting and cancelling through the web; reading needs nothing."""

    submit: Switch = Field(False, description="Whether jobs may be submitted and cancelled through the API.")
    tokens: tuple[Token, ...] = Field((), description="Who may, by a token in the Authorization header.")
    proxy: Proxy = Field(Proxy(), description="Who may, because a proxy says who they are.")
    requests_per_minute: Number = Field(
        60, description="How many requests that cost work one token, user or address may send; more get 429."
    )
