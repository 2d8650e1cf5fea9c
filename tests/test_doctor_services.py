"""What the doctor says of Code Ocean, DocDB and the metadata service: asked as tasks ask them, and left unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import code_ocean_server
import docdb_server
import pytest
from http_server import Faulty, Reply, Request, serving
from workspace import Workspace

from dropbox_agent import doctor, founding
from dropbox_agent.doctor import Finding, Verdict

KEYS = {
    "AWS_ACCESS_KEY_ID": docdb_server.KEY,
    "AWS_SECRET_ACCESS_KEY": docdb_server.SECRET,
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture
def site(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "site")
    founding.initialise(made.folder, datetime(2026, 3, 1, tzinfo=timezone.utc))
    return made


def found(site: Workspace, name: str, environ: dict[str, str] | None = None) -> Finding:
    return next(one for one in doctor.look(site.config, environ or {}) if one.name == name)


def test_code_ocean_is_asked_with_the_token(site: Workspace, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(code_ocean_server.TOKEN)
    token.chmod(0o600)
    with code_ocean_server.running() as server:
        site.change(codeocean={"domain": server.url, "token_file": str(token)})
        words = f"Code Ocean ({server.url}) answers, and takes the token."
        assert found(site, "code ocean") == Finding("code ocean", Verdict.OK, words)
        assert server.assets == {}
        token.chmod(0o644)
        assert found(site, "code ocean").advice == f"chmod 600 {token}"
        token.write_text("another")
        refused = found(site, "code ocean")
    assert refused.verdict is Verdict.FAILED
    assert refused.sentence == (
        f"Code Ocean ({server.url}) refused: 401 (Unauthorized). The token or the credentials (agent.yaml, codeocean)"
        " do not allow it; then retry the job."
    )
    assert f"Code Ocean ({server.url}) cannot be reached" in found(site, "code ocean").sentence


def test_docdb_is_searched_and_writing_could_be_signed(site: Workspace) -> None:
    with docdb_server.running() as server:
        site.change(docdb={"host": server.url, "region": docdb_server.REGION})
        good = found(site, "docdb", KEYS)
        assert good.verdict is Verdict.OK
        assert good.sentence == (
            f"DocDB ({server.url}) answers, and writing can be signed; whether it is allowed was not tried."
        )
        assert [request.method for request in server.faulty.asked] == ["GET"]
        without = found(site, "docdb", {**KEYS, "AWS_ACCESS_KEY_ID": "", "HOME": str(site.folder)})
        assert (without.verdict, "no AWS credentials is known" in without.sentence) == (Verdict.FAILED, True)
        server.faulty.always = Reply(403, b'{"message": "Missing Authentication Token"}')
        assert "refused: 403 (Missing Authentication Token)" in found(site, "docdb", KEYS).sentence


@pytest.fixture
def metadata_service(site: Workspace) -> Iterator[Faulty]:
    def answer(request: Request) -> Reply:
        return Reply(body=b'["A"]') if request.path == "/api/v2/project_names" else Reply(404)

    with serving(answer) as server:
        site.change(metadata={"service_url": server.url})
        yield server


def test_the_metadata_service_is_known_by_its_projects(site: Workspace, metadata_service: Faulty) -> None:
    good = found(site, "metadata service")
    assert (good.verdict, good.sentence) == (Verdict.OK, f"The metadata service {metadata_service.url} answers.")
    for reply, words in (
        (Reply(404, b"<html>"), "refused: 404"),
        (Reply(500), "answered 500"),
        (Reply(body=b"{}"), "something that is no list of projects"),
        (Reply(body=b"<html>"), "something that is not JSON"),
    ):
        metadata_service.always = reply
        wrong = found(site, "metadata service")
        assert (wrong.verdict, words in wrong.sentence) == (Verdict.FAILED, True), wrong
