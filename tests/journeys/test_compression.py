"""The job types in config/examples, from the drop to the upload, with the real programs they need."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from workspace import QUICK, Workspace, a_row, drop, write_csv

from dropbox_agent import settings

PROGRAMS = Path(sys.prefix) / "compress"
EXAMPLES = settings.packaged("config", "examples")
VIDEO, OME_ZARR = "behavior-videos-encoded", "SmartSPIM-ome-zarr"


@pytest.fixture
def site(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A site with the two job types; the programs are where .ci/install-compressors puts them."""
    if not (PROGRAMS / "packages").exists() or shutil.which("ffmpeg") is None:
        words = "what config/examples needs is not installed (.ci/install-compressors)"
        can = os.environ.get("CI") == "true" and sys.version_info >= (3, 11)
        pytest.fail(words) if can else pytest.skip(words)
    for file in EXAMPLES.glob("*.yaml"):
        text = file.read_text().replace("/opt/dropbox-agent/compress", str(PROGRAMS))
        (workspace.folder / "job_types" / file.name).write_text(text)
    (tmp_path / "work").mkdir()
    workspace.change(work_dir=str(tmp_path / "work"))
    return workspace


def uploaded(
    site: Workspace, source: Path, modality: str, job_type: str, **columns: str
) -> tuple[dict[str, Any], Path]:
    """Upload a folder; return the status file and where the modality is then."""
    metadata = source.parent / "metadata"
    metadata.mkdir(exist_ok=True)
    (metadata / "notes.txt").write_text("dim light")
    sources = {modality: source, "metadata": metadata}
    drop(site, "s.csv", lambda path: write_csv(path, [a_row(sources, job_type=job_type, **QUICK, **columns)]))
    site.until_idle()
    assets = [path for path in site.bucket.iterdir() if not path.name.startswith(".")]
    return site.status("s.csv"), (assets or [site.bucket])[0] / modality


def said(status: dict[str, Any]) -> str:
    assert status["jobs"], [problem["message"] for problem in status["problems"]]
    return " ".join(str(task["message"]) for task in status["jobs"][0]["tasks"] if task["state"] == "failed")


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two cameras of an uncompressing recorder, and what was noted beside them."""
    folder = tmp_path / "data" / "o'clock videos"
    (folder / "face").mkdir(parents=True)
    for name in ("face/cam.avi", "body.avi"):
        picture = "testsrc=duration=2:size=320x240:rate=25"
        make = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", picture, "-c:v", "mjpeg", "-q:v", "1", str(folder / name)]
        subprocess.run(make, check=True)
    (folder / "face" / "cam.csv").write_text("frame,time\n")
    return folder


def frames(video: Path) -> int:
    count = ["-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"]
    return int(subprocess.check_output(["ffprobe", "-v", "error", *count, video]))


def test_videos_are_encoded_and_what_lies_beside_them_stays(site: Workspace, videos: Path) -> None:
    status, made = uploaded(site, videos, "behavior-videos", VIDEO)
    assert status["state"] == "succeeded", said(status)
    assert sorted(str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()) == [
        "body.mp4", "face/cam.csv", "face/cam.mp4",
    ]  # fmt: skip
    assert [frames(made / name) for name in ("body.mp4", "face/cam.mp4")] == [50, 50]
    assert (made / "face" / "cam.csv").read_text() == "frame,time\n"
    assert (made / "body.mp4").stat().st_size < (videos / "body.avi").stat().st_size / 3


@pytest.mark.parametrize(
    ("spoil", "columns", "words"),
    [
        ("face/cam.mov", {}, "These would become one file: face/cam.avi and face/cam.mov. Rename them."),
        ("torn.avi", {}, "Not everything was encoded; missing: "),
        (None, {"compression_enum": "user defined"}, "compression_enum is 'user defined'; it may be one of default"),
    ],
)
def test_what_would_be_lost_or_is_not_allowed_fails(
    site: Workspace, videos: Path, spoil: str | None, columns: dict[str, str], words: str
) -> None:
    if spoil is not None:
        (videos / spoil).write_bytes(b"no video at all")
    wish = "modality0.job_settings.compression_requested."
    status, made = uploaded(
        site, videos, "behavior-videos", VIDEO, **{wish + name: value for name, value in columns.items()}
    )
    assert status["state"] == "failed"
    assert words in said(status)
    assert not made.exists()


VOLUME = """
import sys, numpy, tifffile
volume = numpy.random.default_rng(7).integers(0, 60_000, (40, 150, 140), dtype=numpy.uint16)
tifffile.imwrite(sys.argv[1], volume)
"""
COMPARE = """
import sys, numpy, tifffile, zarr, json
group = zarr.open_group(sys.argv[2], mode="r")
same = bool(numpy.array_equal(group["s0"][:], tifffile.imread(sys.argv[1])))
print(json.dumps({"same": same, "ome": dict(group.attrs)["ome"]["multiscales"][0], "last": group["s3"].shape}))
"""


def run_there(program: str, *words: Path) -> str:
    return subprocess.check_output([PROGRAMS / "bin" / "python", "-W", "ignore", "-c", program, *words], text=True)


def test_a_stack_becomes_an_ome_zarr_with_the_same_voxels(site: Workspace, tmp_path: Path) -> None:
    source = tmp_path / "data" / "SPIM"
    (source / "tile 1").mkdir(parents=True)
    run_there(VOLUME, source / "tile 1" / "488.tif")
    (source / "acquisition.txt").write_text("laser 488")
    status, made = uploaded(site, source, "SPIM", OME_ZARR)
    assert status["state"] == "succeeded", said(status)
    assert sorted(path.name for path in made.iterdir()) == ["acquisition.txt", "tile 1"]
    found = json.loads(run_there(COMPARE, source / "tile 1" / "488.tif", made / "tile 1" / "488.tif.ome.zarr"))
    assert found["same"] is True
    assert [one["name"] for one in found["ome"]["axes"]] == ["z", "y", "x"]
    assert [one["path"] for one in found["ome"]["datasets"]] == ["s0", "s1", "s2", "s3"]
    assert found["last"] == [40, 18, 17], "ome-zarr halves the planes, and keeps their number"


def test_a_picture_that_is_no_stack_is_told(site: Workspace, tmp_path: Path) -> None:
    source = tmp_path / "data" / "SPIM"
    source.mkdir(parents=True)
    run_there(VOLUME.replace("(40, 150, 140)", "(30, 20)"), source / "flat.tif")
    status, _ = uploaded(site, source, "SPIM", OME_ZARR)
    assert status["state"] == "failed"
    assert "flat.tif has 2 dimensions; a stack of planes has three (z, y, x)." in said(status)
