"""The pages of a site: served on their own, or beside a running agent; and what the agent says of itself meanwhile."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dropbox_agent import assembly, manifest, pulse
from dropbox_agent.agent import Agent, database
from dropbox_agent.errors import PagesNotServed, WrongUse
from dropbox_agent.examine import Examiner
from dropbox_agent.inbox import Inbox
from dropbox_agent.ledger import Lists, Reader
from dropbox_agent.manifest import template
from dropbox_agent.patience import Place, Places
from dropbox_agent.presets.folder import SUFFIXES as PRESET_SUFFIXES
from dropbox_agent.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from dropbox_agent.web.api import Access, Desk

logger = logging.getLogger(__name__)

PULSE_FILES = 10
"""How many files of an inbox the agent names when it says how it is."""
LOOK_SECONDS = 3.0
"""How long a page waits for a log on a share."""
BACKLOG = 128
"""How many may wait to be let in."""
END_SECONDS = 5
"""How long pages that are being sent may still take when the agent ends."""


def serve(settings: Settings, host: str | None, port: int | None, told: Callable[[str], None]) -> None:
    """Serve the pages until stopped; ``told`` gets their address. Raises PagesNotServed where nobody can listen."""
    import uvicorn  # heavy, and needed by no other command

    address = (host or settings.web.host, settings.web.port if port is None else port)
    with listening(*address) as socket_, opened_app(settings) as app:
        told(place_of(socket_))
        # Who asks is decided by who is connected; whom to believe, by api.proxy.
        config = uvicorn.Config(app, proxy_headers=False, timeout_graceful_shutdown=END_SECONDS)
        uvicorn.Server(config).run(sockets=[socket_])


@contextmanager
def served_beside(settings: Settings) -> Iterator[str]:
    """Serve the pages in a thread while the block runs, and yield their address.

    When the address is taken, it is said and nothing is served: the agent goes on without.
    """
    import uvicorn

    try:
        socket_ = listening(settings.web.host, settings.web.port)
    except PagesNotServed as error:
        logger.error("%s", error)
        yield ""
        return
    with socket_, opened_app(settings) as app:
        # Its log would be in the way of the agent's own.
        server = uvicorn.Server(
            uvicorn.Config(
                app, log_config=None, proxy_headers=False, access_log=False, timeout_graceful_shutdown=END_SECONDS
            )
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [socket_]}, name="pages", daemon=True)
        thread.start()
        logger.info("The pages are at %s", place_of(socket_), extra={"action": "serve"})
        try:
            yield place_of(socket_)
        finally:
            server.should_exit = True
            thread.join(END_SECONDS + 2)


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens; of ``::`` for both families. Raises PagesNotServed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server(
            (host, port), family=family, backlog=BACKLOG, dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6()
        )
    except (OSError, OverflowError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).partition(" (while")[0]
        raise PagesNotServed(host, port, reason) from error


def place_of(listening_: socket.socket) -> str:
    """Return the address of the pages as a browser takes it."""
    host, port = listening_.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def web_app(settings: Settings) -> FastAPI:
    """Return the pages and the API on this site's ledger; its ``state.close()`` lets go of what they read.

    Raises LedgerUnavailable when there is no ledger yet.
    """
    from dropbox_agent import web  # FastAPI takes a while to import, and no other command needs it

    with ExitStack() as opened:
        room = opened.enter_context(manifest.Room(upstream=settings.compat == "upstream"))
        parts = web.Parts(
            read=opened.enter_context(closing(assembly.open_reader(settings))),
            lists=opened.enter_context(closing(Lists.of(database(settings.state_dir)))),
            pages=assembly.pages(settings),
            examiner=assembly.examiner(settings, room),
            written=web.Written(room, settings.state_dir / "spool"),
            pulse=partial(pulse.read, settings.state_dir),
            work=Place(str(settings.work_dir), LOOK_SECONDS),
        )
        made = web.app(parts)
        made.mount("/api", _api(settings))
        made.state.close = opened.pop_all().close
        return made


def _api(settings: Settings) -> FastAPI:
    """Return the API on this site's ledger. Raises LedgerUnavailable when there is none yet."""
    from dropbox_agent.web import api

    reader, shares = assembly.open_reader(settings), assembly.places(settings)
    by = assembly.examiner(settings, manifest.Room(upstream=settings.compat == "upstream"), shares)
    return api.application(
        api.ApiParts(
            reader=reader,
            lists=assembly.open_lists(settings),
            examiner=by,
            presets=by.load_presets,
            template=lambda: template.template_bytes(by.known(by.load_presets(), assembly.utc_now())),
            changed=partial(_preset_changed, settings.presets.folder),
            now=assembly.utc_now,
            rates=api.Rates(settings.api.requests_per_minute),
            places=shares,
            access=_access(settings),
            desk=_desk(settings, reader, by, shares),
        )
    )


def _access(settings: Settings) -> Access:
    from dropbox_agent.web import api

    tokens = [api.Token(t.name, t.sha256, t.user_email, t.may_cancel == "all") for t in settings.api.tokens]
    via = settings.api.proxy
    proxy = api.Proxy(via.addresses, via.user_header, via.email_header, via.origins) if via.addresses else None
    return api.Access(settings.api.submit, tuple(tokens), proxy)


def _desk(settings: Settings, reader: Reader, by: Examiner, shares: Places) -> Desk | None:
    from dropbox_agent.web import api

    if not settings.api.submit:
        return None
    if not settings.inboxes:
        raise WrongUse(f"{settings.origin}: api.submit is on, and no inbox is set ('inboxes') to put manifests into.")
    receipts = api.Receipts(settings.state_dir / "submissions.sqlite")
    return api.Desk(settings.inboxes[0].path, assembly.orders_in(settings), reader, by, receipts, shares)


def _preset_changed(folder: Path, job_type: str) -> datetime | None:
    """Return when the file of a job type was last changed; None when it has none."""
    for suffix in PRESET_SUFFIXES:
        with suppress(OSError):
            return datetime.fromtimestamp((folder / f"{job_type}{suffix}").stat().st_mtime, timezone.utc)
    return None


@contextmanager
def opened_app(settings: Settings) -> Iterator[FastAPI]:
    """Yield the pages and the API, and let go of what they read."""
    app = web_app(settings)
    try:
        yield app
    finally:
        app.state.close()


@contextmanager
def heartbeat(agent: Agent, settings: Settings) -> Iterator[Callable[[], None]]:
    """Yield what says, every few seconds, that the agent is there; at the end it is said that it was stopped."""
    since = assembly.utc_now()
    said: datetime | None = None

    def beat() -> None:
        nonlocal said
        now = assembly.utc_now()
        if said is None or not timedelta() <= now - said < pulse.EVERY:
            said = now
            _say(settings, _pulse(agent, settings, since, now, False))

    beat()
    try:
        yield beat
    finally:
        _say(settings, _pulse(agent, settings, since, assembly.utc_now(), True))


def _say(settings: Settings, how_it_is: pulse.Pulse) -> None:
    with suppress(OSError):  # A full disk stops other things first, and they say so.
        pulse.write(settings.state_dir, how_it_is)


def _pulse(agent: Agent, settings: Settings, since: datetime, now: datetime, stopped: bool) -> pulse.Pulse:
    return pulse.Pulse(
        at=now,
        since=since,
        pid=os.getpid(),
        host=socket.gethostname(),
        executor=settings.executor.kind,
        executor_trouble=agent.executor.trouble,
        inboxes=tuple(_watched(inbox) for inbox in agent.inboxes),
        troubles=tuple(agent.trouble()),
        stopped=stopped,
    )


def _watched(inbox: Inbox) -> pulse.WatchedInbox:
    return pulse.WatchedInbox(
        path=str(inbox.path),
        last_complete_scan=inbox.last_complete_scan,
        trouble=inbox.trouble,
        waiting=tuple(f"{one.name}: {one.reason}" for one in inbox.waiting()[:PULSE_FILES]),
        left_alone=tuple(f"{name}: {reason}" for name, reason in inbox.left_alone()[:PULSE_FILES]),
    )
