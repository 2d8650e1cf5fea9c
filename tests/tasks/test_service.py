"""How a service is asked: bounded in time and size, patient as it wishes, and nothing secret told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from http_server import Faulty, Reply, Request, serving

from dropbox_agent.errors import TaskFailed
from dropbox_agent.tasks import service as services
from dropbox_agent.tasks.service import Service

TOKEN = "token-7f3"


@pytest.fixture
def server() -> Iterator[Faulty]:
    with serving(lambda request: Reply(body=b'{"good": 1}')) as found:
        yield found


def asked(server: Faulty, waits: list[float] | None = None, **changes: Any) -> Service:
    def sign(request: httpx.Request) -> None:
        request.headers["Authorization"] = f"Bearer {TOKEN}"
        request.headers["X-Amz-Security-Token"] = "session-9c1"

    quick = {"answer_seconds": 60.0, "tries": 2, "sleep": ([] if waits is None else waits).append}
    return Service("The service", f"{server.url}/", "section", sign=sign, secrets=(TOKEN,), **{**quick, **changes})


def failure(service: Service) -> TaskFailed:
    with pytest.raises(TaskFailed) as failed:
        service.ask("GET", "x")
    return failed.value


@pytest.mark.parametrize(
    ("reply", "times"),
    [
        (Reply(408), 2),
        (Reply(429), 2),
        (Reply(500), 2),
        (Reply(504), 2),
        (Reply(body=b"half", cut_after=1), 2),
        (Reply(body=b"<html>"), 2),
        (Reply(400), 1),
        (Reply(401), 1),
        (Reply(403), 1),
        (Reply(404), 1),
        (Reply(302, headers={"Location": "http://127.0.0.1:9/"}), 1),
    ],
)
def test_what_may_pass_is_asked_again_and_what_will_not_is_not(server: Faulty, reply: Reply, times: int) -> None:
    server.always = reply
    assert failure(asked(server)).passes is (times > 1)
    assert len(server.asked) == times


def test_what_may_have_been_done_is_not_asked_again_before_somebody_looks(server: Faulty) -> None:
    server.always = Reply(502)
    with pytest.raises(services.Unsure):
        asked(server).ask("POST", "x", value={}, repeatable=False)
    assert len(server.asked) == 1
    server.always, server.faults = None, [Reply(429)]
    assert asked(server).ask("POST", "x", value={}, repeatable=False) == {"good": 1}, "429: it was not done"


def test_a_service_that_drips_is_given_up(server: Faulty) -> None:
    server.always, begun = Reply(body=b" " * 10_000, byte_seconds=0.1), time.monotonic()
    failed = failure(asked(server, answer_seconds=0.5))
    assert str(failed).startswith("The service did not answer within 0.5 s, 2 times. Retry the job")
    assert failed.passes
    assert time.monotonic() - begun < 100, "all of it would take 1000 s"


def test_an_answer_without_an_end_is_not_kept(server: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "LARGEST_BYTES", 3 * 2**20)
    server.always = Reply(body=b" " * (4 * 2**20))
    assert str(failure(asked(server))).startswith("The service answered more than 3 MiB, 2 times.")


@pytest.mark.parametrize(
    ("wish", "least", "most"), [("7", 7, 7), ("86400", 60, 60), ("-5", 0, 1), ("nan", 0, 1), ("soon", 0, 1)]
)
def test_a_service_that_says_when_to_come_back_is_left_alone_until_then(
    server: Faulty, wish: str, least: float, most: float
) -> None:
    waits: list[float] = []
    server.faults = [Reply(429, headers={"Retry-After": wish})]
    assert asked(server, waits).ask("GET", "x") == {"good": 1}
    assert len(waits) == 1
    assert least <= waits[0] <= most


def test_a_service_that_repeats_what_proves_who_asks_tells_nobody(server: Faulty) -> None:
    def repeats(request: Request) -> Reply:
        return Reply(403, f"Forbidden {sorted(request.headers.items())} and {TOKEN}".encode())

    server.behaves = repeats
    words = str(failure(asked(server)))
    assert words.startswith("The service refused: 403 (Forbidden")
    assert "'Authorization', '...'" in words
    assert TOKEN not in words
    assert "session-9c1" not in words
    assert TOKEN not in repr(asked(server))
