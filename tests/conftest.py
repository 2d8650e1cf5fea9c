"""What tests are given: a site of their own, the data of one session, and a real cluster, whole and empty."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import s3_server
from cluster import Cluster, missing_programs, running_cluster
from fault_proxy import Proxy, proxied
from images import build_image
from s3_server import Place, Server
from workspace import COMMAND, Workspace

from dropbox_agent import demonstration, manifest

# How busy the machine is says nothing about the code.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    folder = tmp_path / "a site's folder"
    made = Workspace(folder)
    done = subprocess.run([*COMMAND, "init", str(folder)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    made.change(inboxes=[{"path": str(made.inbox), "settle_seconds": 0.2, "settle_max_seconds": 1, "scan_seconds": 1}])
    yield made
    made.end()


@pytest.fixture(scope="session")
def _room() -> Iterator[manifest.Room]:
    with manifest.Room() as room:
        yield room


@pytest.fixture
def one_room(_room: manifest.Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every site of a test read its manifests in one process: each of its own would take a second to start."""
    monkeypatch.setattr(manifest, "Room", lambda **_: _room)


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    """Folders of one session, as real ones are: dot files, an empty file, sub-folders, spaces and umlauts."""
    return demonstration.make_session(tmp_path / "data" / "session 0012")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images for Charliecloud, with ``lab/tools`` 1.0 in it."""
    if shutil.which("ch-run") is None and os.environ.get("CI") == "true":
        pytest.fail("The tests of containers need charliecloud; .ci/install-slurm installs it.")
    if shutil.which("ch-run") is None:
        pytest.skip("charliecloud is not installed (make test installs it as root on Debian)")
    return build_image(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def _shared_cluster() -> Iterator[Cluster]:
    missing = missing_programs()
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"The cluster tests need {', '.join(missing)}; .ci/install-slurm installs them.")
    if missing:
        pytest.skip(f"{', '.join(missing)} are not installed (make test installs them as root on Debian)")
    with running_cluster(Cluster) as cluster:
        yield cluster


@pytest.fixture
def cluster(_shared_cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    site = request.getfixturevalue("workspace") if "workspace" in request.fixturenames else None
    yield _shared_cluster
    if site is not None:  # An agent would hand the next thing over to a cluster that is being emptied.
        site.end()
    _shared_cluster.mend()


@pytest.fixture(scope="session")
def _s3_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3_server.Servers]:
    with s3_server.Servers(tmp_path_factory.mktemp) as servers:
        yield servers


@pytest.fixture
def seaweedfs(_s3_servers: s3_server.Servers) -> Server:
    """The S3 server that refuses what arrives with a wrong checksum."""
    return _s3_servers.running("seaweedfs")


@pytest.fixture(params=list(s3_server.SERVERS))
def s3(request: pytest.FixtureRequest, _s3_servers: s3_server.Servers) -> Server:
    """Every S3 server, one after the other."""
    return _s3_servers.running(request.param)


@pytest.fixture
def place(s3: Server, tmp_path: Path) -> Place:
    """An empty bucket of its own, on each of the servers."""
    return Place(s3, tmp_path / "credentials")


@pytest.fixture
def strict(seaweedfs: Server, tmp_path: Path) -> Place:
    """An empty bucket on the server that checks."""
    return Place(seaweedfs, tmp_path / "credentials")


@pytest.fixture
def proxy(strict: Place) -> Iterator[Proxy]:
    """What stands before the server that checks, and lets it fail."""
    with proxied(strict.server.endpoint) as made:
        yield made
