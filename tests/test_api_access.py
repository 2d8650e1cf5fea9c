"""Who may submit, how often and how much; and what a request has to look like. What is closed looks at nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from api_site import TOKEN, TOKENS, ApiSite, bearer
from hypothesis import given
from hypothesis import strategies as st

from dropbox_agent.web.api import Access, Proxy, Rates, Receipts, Submitter, Token, asking, receipts
from dropbox_agent.web.api.access import Refused, fingerprint
from dropbox_agent.web.api.asking import TooMany

SUBMIT = "/api/v2/submit_jobs"
NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
PROXY = Proxy(("10.1.0.0/16", "::1/128"), "X-Remote-User", "X-Remote-Email", ("https://dbx.example.org",))
ACCESS = Access(True, (Token("rig-3", fingerprint(TOKEN), "rig3@example.org"),), PROXY)


def refusal(access: Access, headers: dict[str, str], peer: str | None = "192.0.2.1") -> int:
    with pytest.raises(Refused) as refused:
        access.submitter(headers, peer)
    return refused.value.code


# --- who -------------------------------------------------------------------------------------------------------------


def test_a_token_says_who_asks() -> None:
    asked = {"authorization": f"bearer {TOKEN}"}
    assert ACCESS.submitter(asked, None) == Submitter("rig-3", "rig3@example.org")
    assert refusal(ACCESS, {"authorization": "Bearer wrong"}) == 401
    assert refusal(ACCESS, {"authorization": f"Basic {TOKEN}"}) == 401
    assert refusal(ACCESS, {}) == 401


def test_a_wrong_token_is_not_mended_by_a_proxy() -> None:
    assert refusal(ACCESS, {"authorization": "Bearer wrong", "x-remote-user": "anna"}, "10.1.2.3") == 401


def test_a_header_is_believed_of_the_proxy_only() -> None:
    asked = {"x-remote-user": "anna", "x-remote-email": "anna@example.org"}
    for peer in ("10.1.2.3", "::1"):
        assert ACCESS.submitter(asked, peer) == Submitter("user anna", "anna@example.org")
    for stranger in ("10.2.0.1", "127.0.0.1", "", None, "testclient"):
        assert refusal(ACCESS, asked, stranger) == 401
    assert refusal(Access(True, ACCESS.tokens), asked, "10.1.2.3") == 401


@pytest.mark.parametrize("user", ["", " ", "../../x", "a b", "a\nb", "x" * 101, "-x"])
def test_a_name_that_is_none_is_nobody(user: str) -> None:
    assert refusal(ACCESS, {"x-remote-user": user}, "10.1.2.3") == 401


@pytest.mark.parametrize(
    "told",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "https://dbx.example.org"},
    ],
)
def test_a_page_of_another_site_cannot_use_somebodys_log_in(told: dict[str, str]) -> None:
    assert refusal(ACCESS, {"x-remote-user": "anna", **told}, "10.1.2.3") == 403
    own = {"x-remote-user": "anna", "origin": "https://dbx.example.org", "sec-fetch-site": "same-origin"}
    assert ACCESS.submitter(own, "10.1.2.3").name == "user anna"


def test_what_a_proxy_calls_an_address_and_is_none_is_left_out() -> None:
    asked = {"x-remote-user": "anna", "x-remote-email": "anna@example.org, bo@example.org"}
    assert ACCESS.submitter(asked, "10.1.2.3").user_email is None


@pytest.mark.parametrize("path", [SUBMIT, "/api/v2/cancel_job", "/api/manifests", "/api/jobs/x/cancel"])
def test_a_closed_api_says_so_before_it_looks_at_anything(tmp_path: Path, one_room: None, path: str) -> None:
    site = ApiSite.made(tmp_path, api={"submit": False})
    for more in ({"content": b"no json"}, {"json": site.request(), "headers": bearer()}, {}):
        answer = site.ask("POST", path, **more)
        assert (answer.status_code, "closed here" in answer.text) == (403, True)
    assert not (site.folder / "state" / "submissions.sqlite").exists()


def test_strangers_are_told_how_to_say_who_they_are(tmp_path: Path, one_room: None) -> None:
    site = ApiSite.made(tmp_path)
    answer = site.ask("POST", SUBMIT, json=site.request())
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["data"]["responses"] == []
    assert site.post(SUBMIT, site.request(), token="guessed").status_code == 401
    assert site.ask("POST", SUBMIT, json=site.request(), headers={"X-Remote-User": "anna"}).status_code == 401
    site.change(api={"submit": True, "tokens": TOKENS[1:]})  # revoked: its line is taken out
    assert site.post(SUBMIT, site.request()).status_code == 401
    assert site.manifests() == []


def test_a_proxy_named_in_the_settings_says_who_asks(tmp_path: Path, one_room: None) -> None:
    site = ApiSite.made(tmp_path, api={"submit": True, "proxy": {"addresses": ["10.1.0.0/16"]}})
    asked = {"X-Remote-User": "anna", "X-Forwarded-For": "10.1.2.3"}
    assert site.ask("POST", SUBMIT, "192.0.2.1", json=site.request(), headers=asked).status_code == 401
    answer = site.ask("POST", SUBMIT, "10.1.2.3", json=site.request(), headers=asked)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"]["manifest"].startswith("api-user-anna-")


def test_no_answer_invites_other_sites(tmp_path: Path, one_room: None) -> None:
    site = ApiSite.made(tmp_path)
    for method in ("GET", "OPTIONS"):
        asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        answer = site.ask(method, "/api/jobs", headers=asked)
        assert [name for name in answer.headers if name.startswith("access-control")] == []
        assert answer.headers["x-content-type-options"] == "nosniff"
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = site.ask(
            "POST", SUBMIT, content=json.dumps(site.request()), headers={**bearer(), "Content-Type": kind}
        )
        assert answer.status_code == 415


# --- how often, how much ---------------------------------------------------------------------------------------------


def test_who_asks_too_often_is_told_when_to_come_back(tmp_path: Path, one_room: None) -> None:
    site = ApiSite.made(tmp_path, api={"submit": True, "tokens": TOKENS, "requests_per_minute": 2})
    answers = [site.post(SUBMIT, {}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [406, 429]
    assert answers[1].headers["retry-after"] == "30"
    assert site.post(SUBMIT, {}, token="token-of-bo").status_code == 406
    visits = [
        site.ask("POST", "/api/v2/validate_json", peer, json={}) for peer in ("192.0.2.1", "192.0.2.1", "192.0.2.2")
    ]
    assert [visit.status_code for visit in visits] == [406, 429, 406]


def test_people_behind_a_proxy_are_counted_one_by_one() -> None:
    asked = {"x-remote-user": "anna"}
    told = [ACCESS.visitor(asked, "10.1.2.3"), ACCESS.visitor({}, "10.1.2.3"), ACCESS.visitor(asked, "192.0.2.1")]
    assert told == ["name user anna", "peer 10.1.2.3", "peer 192.0.2.1"]
    assert Access().visitor(asked, "10.1.2.3") == "peer 10.1.2.3"


def test_a_bucket_fills_steadily() -> None:
    rates = Rates(per_minute=60)
    assert [rates.wait_seconds("a", 0.0) for _ in range(31)] == [*[0.0] * 30, 1.0]
    assert [rates.wait_seconds("a", second) for second in (0.5, 1.0, 1.0)] == [0.5, 0.0, 1.0]
    assert rates.wait_seconds("b", 1.0) == 0.0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 10)), max_size=200))
def test_nobody_gets_more_than_the_burst_and_the_rate(asked: list[tuple[str, float]]) -> None:
    rates, seconds, let_in = Rates(per_minute=60), 0.0, {"a": 0, "b": 0, "c": 0}
    for who, pause in asked:
        seconds += pause
        let_in[who] += rates.wait_seconds(who, seconds) == 0.0
    assert all(count <= 30 + seconds + 1 for count in let_in.values())


def test_a_flood_of_addresses_is_forgotten_not_remembered() -> None:
    rates = Rates(per_minute=60)
    for number in range(25_000):
        assert rates.wait_seconds(str(number), 0.0) == 0.0
    assert len(rates._left) <= 10_001


def test_a_body_that_is_too_large_is_not_read_to_its_end(tmp_path: Path, one_room: None) -> None:
    site = ApiSite.made(tmp_path)
    sent = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            sent.append(100_000)
            yield b" " * 100_000

    headers = {**bearer(), "Content-Type": "application/json"}
    answer = site.ask("POST", SUBMIT, content=endless(), headers=headers)
    assert (answer.status_code, sum(sent) < 2_000_000) == (413, True)


def test_a_body_that_never_comes_is_not_waited_for(
    tmp_path: Path, one_room: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "BODY_SECONDS", 0.05)
    site = ApiSite.made(tmp_path)

    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(3600)

    headers = {**bearer(), "Content-Type": "application/json"}
    assert site.ask("POST", SUBMIT, content=never(), headers=headers).status_code == 408


def test_how_long_to_wait_is_told_in_whole_seconds() -> None:
    assert (TooMany(0.01).wait_seconds, str(TooMany(1.2))) == (1, "Too many requests. Come back in 2 s.")


# --- receipts --------------------------------------------------------------------------------------------------------


def a_receipt(manifest: str = "api-rig-3-1.json", **changes: Any) -> receipts.Receipt:
    facts = {"submitter": "rig-3", "digest": "d", "content": b"{}", "jobs": (("a.1", "a"),), "made": NOW, **changes}
    return receipts.Receipt(manifest=manifest, **facts)


def test_a_receipt_outlives_the_process_that_wrote_it(tmp_path: Path) -> None:
    first = Receipts(tmp_path / "state" / "submissions.sqlite")
    assert first.intend(a_receipt()) == a_receipt()
    first.placed("api-rig-3-1.json", NOW)
    first.close()
    again = Receipts(tmp_path / "state" / "submissions.sqlite")
    assert again.find("api-rig-3-1.json") == a_receipt(placed=NOW)
    assert again.announced("a.1") == a_receipt(placed=NOW)
    assert (again.find("another"), again.announced("b.1")) == (None, None)


def test_of_two_intents_under_one_name_the_first_one_stands(tmp_path: Path) -> None:
    one, other = Receipts(tmp_path / "s.sqlite"), Receipts(tmp_path / "s.sqlite")
    one.intend(a_receipt())
    assert other.intend(a_receipt(digest="another")).digest == "d"


def test_a_key_is_forgotten_after_a_month(tmp_path: Path) -> None:
    store = Receipts(tmp_path / "s.sqlite")
    store.intend(a_receipt())
    store.intend(a_receipt("api-rig-3-2.json", made=NOW + timedelta(days=30)))
    assert store.find("api-rig-3-1.json") is not None
    store.intend(a_receipt("api-rig-3-3.json", made=NOW + timedelta(days=31)))
    assert store.find("api-rig-3-1.json") is None
