"""Real S3 servers on this machine, each a process of its own with free ports: SeaweedFS, rclone and moto."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from ports import free_ports

from dropbox_agent.model import S3Access

KEY, SECRET = "AKIDEXAMPLE00001", "canarySecret0123456789"
PROGRAMS = Path(sys.executable).parent
BOOT_SECONDS = 100.0
"""How long a server may take to start: it comes at once, unless the machine is very busy."""


def client_of(endpoint: str) -> Any:
    """Return a client of a server that asks once, and waits for an answer as long as a busy machine may take."""
    once = Config(
        s3={"addressing_style": "path"}, connect_timeout=20, read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": 1},
    )  # fmt: skip
    return boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id=KEY, aws_secret_access_key=SECRET,
        region_name="us-east-1", config=once,
    )  # fmt: skip


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    name: str
    endpoint: str
    process: subprocess.Popen[bytes]
    log: Path

    def has_died(self) -> bool:
        """Return whether its process is over."""
        return self.process.poll() is not None

    @property
    def checks_checksums(self) -> bool:
        return self.name == "seaweedfs"

    @property
    def keeps_odd_names(self) -> bool:
        """moto's routes lose a key with a line break; rclone keeps a folder's mark as an empty file."""
        return self.name != "moto"

    def client(self, endpoint: str | None = None) -> Any:
        return client_of(endpoint or self.endpoint)


@dataclass
class Place:
    """One empty bucket on a server, and the file that has the keys to it."""

    server: Server
    credentials: Path
    name: str = field(default_factory=lambda: f"b-{uuid.uuid4().hex[:16]}")

    def __post_init__(self) -> None:
        self.client = self.server.client()
        self.client.create_bucket(Bucket=self.name)
        self.credentials.write_text(f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n")

    @property
    def address(self) -> str:
        return f"s3://{self.name}"

    def access(self, **changes: Any) -> S3Access:
        facts = {"endpoint_url": self.server.endpoint, "credentials_file": self.credentials, "give_up_seconds": 3.0}
        return S3Access(**{**facts, "request_seconds": 60.0, "connections": 4, **changes})

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return [one["Key"] for page in pages for one in page.get("Contents", ())]

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Return every object below a prefix with its content."""
        return {key: self.client.get_object(Bucket=self.name, Key=key)["Body"].read() for key in self.keys(prefix)}

    def cut_off(self) -> list[str]:
        """Return the keys of uploads in parts that nobody has ended."""
        found = self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", ())
        return [one["Key"] for one in found]


class Servers:
    """The servers of one test run: each is booted when it is first asked for, and anew when it has died."""

    def __init__(self, folder_for: Callable[[str], Path]) -> None:
        self._folder_for = folder_for
        self._booted: dict[str, Server] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def running(self, name: str) -> Server:
        """Return a server that answers; of one that has died, the end of its log is printed."""
        if name in self._booted and self._booted[name].has_died():
            print(f"{name} has died:", self._booted.pop(name).log.read_text(errors="replace")[-4000:])
        if name not in self._booted:
            self._booted[name] = self._stack.enter_context(SERVERS[name](self._folder_for(name)))
        return self._booted[name]


@contextmanager
def seaweedfs(folder: Path) -> Iterator[Server]:
    """The only one of the three that refuses what arrives with a wrong checksum."""
    ports = iter(free_ports(8))
    rights = {"name": "t", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [rights]}))
    port = next(ports)
    argv = [
        "weed", "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false",
        f"-master.port={next(ports)}", f"-master.port.grpc={next(ports)}", f"-volume.port={next(ports)}",
        # Each bucket takes seven of its volumes.
        f"-volume.port.grpc={next(ports)}", "-volume.max=2000", "-master.volumeSizeLimitMB=256", "-filer",
        f"-filer.port={next(ports)}", f"-filer.port.grpc={next(ports)}", f"-filer.localSocket={folder}/f.sock", "-s3",
        f"-s3.port={port}", f"-s3.port.grpc={next(ports)}", "-s3.port.lance=0", "-s3.port.iceberg=0",
        f"-s3.config={config}", "-s3.autoCreateBucket=false",
    ]  # fmt: skip
    with running(argv, folder, f"http://127.0.0.1:{port}", "seaweedfs") as server:
        yield server


@contextmanager
def rclone(folder: Path) -> Iterator[Server]:
    (port,) = free_ports(1)
    data = folder / "data"
    data.mkdir()
    argv = [
        "rclone", "serve", "s3", "--config", "/dev/null", "--auth-key", f"{KEY},{SECRET}", "--addr",
        f"127.0.0.1:{port}", "--vfs-cache-mode", "off", str(data),
    ]  # fmt: skip
    with running(argv, folder, f"http://127.0.0.1:{port}", "rclone") as server:
        yield server


@contextmanager
def moto(folder: Path) -> Iterator[Server]:
    (port,) = free_ports(1)
    argv = ["moto_server", "-H", "127.0.0.1", "-p", str(port)]
    with running(argv, folder, f"http://127.0.0.1:{port}", "moto") as server:
        yield server


SERVERS: dict[str, Callable[[Path], Any]] = {"seaweedfs": seaweedfs, "rclone": rclone, "moto": moto}


@contextmanager
def running(argv: list[str], folder: Path, endpoint: str, name: str) -> Iterator[Server]:
    """Start a server, yield it once it takes an object, kill it at the end."""
    program = PROGRAMS / argv[0]
    assert program.exists(), f"{program} is not there; the test extra has it"
    with ExitStack() as stack:
        log = folder / "server.log"
        with log.open("wb") as out:
            child = subprocess.Popen([str(program), *argv[1:]], stdout=out, stderr=subprocess.STDOUT, cwd=folder)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(child.wait, 20)
        stack.callback(child.kill)
        server = Server(name, endpoint, child, log)
        wait_until_ready(server)
        yield server


def wait_until_ready(server: Server) -> None:
    """Wait until a server takes an object; one that is starting may take a bucket before."""
    client = server.client()
    until = time.monotonic() + BOOT_SECONDS
    while True:
        try:
            with suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
                client.create_bucket(Bucket="ready-bucket")
            client.put_object(Bucket="ready-bucket", Key="ready", Body=b"x")
            return
        except (BotoCoreError, ClientError) as error:
            in_time = time.monotonic() < until and not server.has_died()
            assert in_time, f"{error}: {server.log.read_text(errors='replace')[-2000:]}"
            time.sleep(0.1)
