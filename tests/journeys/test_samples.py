"""Files that existing users really have, their folders mapped onto made ones. Skipped where the samples are absent."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from workspace import Workspace

from dropbox_agent import demonstration

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
ACQUIRED = Path("scratch/svc_aind_upload/test_data_sets")

pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples of existing users are not here")


@pytest.fixture
def allen(workspace: Workspace, tmp_path: Path) -> Path:
    """Make what stands for /allen/aind, and map it."""
    root = tmp_path / "allen"
    root.mkdir()
    workspace.change(path_map={"/allen/aind": str(root)})
    return root


def fill(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.bin").write_bytes(bytes(range(256)) * 40)
    (folder / ".hidden").write_text("kept")
    return folder


def test_the_template_of_existing_users_uploads_its_three_sessions(workspace: Workspace, allen: Path) -> None:
    for name in ("dir", "metadata_dir", "Config"):
        fill(allen / "stage" / "fake" / name)
    shutil.copy(SAMPLES / "upstream" / "job_upload_template.xlsx", workspace.inbox)
    workspace.until_idle()
    status = workspace.status("job_upload_template.xlsx")
    assert [(job["s3_prefix"], job["state"]) for job in status["jobs"]] == [
        ("behavior_123456_2023-10-04_04-00-00", "succeeded"),
        ("SmartSPIM_654321_2023-03-04_16-30-00", "succeeded"),
        ("ecephys_654321_2023-01-30_19-01-00", "succeeded"),
    ]
    sources = {"behavior-videos": allen / "stage" / "fake" / "dir", "behavior": allen / "stage" / "fake" / "dir"}
    arrived = workspace.bucket / "behavior_123456_2023-10-04_04-00-00"
    assert demonstration.compare(sources, arrived)[::2] == (4, [])


PAYLOADS = {
    "basic_upload.json": "ecephys_655019_2023-04-03_18-17-07",
    "skip_s3_check.json": "ecephys_655019_2023-04-03_18-17-07",
    "upload_with_notification.json": "ecephys_655019_2023-04-03_18-17-07",
    "upload_with_custom_slurm_settings.json": "ecephys_655019_2023-04-03_18-17-07",
    "custom_metadata_mapper_settings.json": "single-plane-ophys_784746_2020-04-25_16-41-00",
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_of_an_existing_script_dropped_as_a_file_is_uploaded(
    workspace: Workspace, allen: Path, name: str
) -> None:
    data = allen / ACQUIRED
    source = fill(data / "ecephys" / "655019_2023-04-03_18-17-07")
    source = fill(data / "bci/042525/042525/pophys") if name.startswith("custom") else source
    workspace.change(policy={"manifests_may_set": "all", "source_roots": [str(allen)]})
    shutil.copy(SAMPLES / "payloads" / name, workspace.inbox)
    workspace.until_idle()
    (job,) = workspace.status(name)["jobs"]
    assert (job["s3_prefix"], job["state"]) == (PAYLOADS[name], "succeeded"), job
    modality = "pophys" if name.startswith("custom") else "ecephys"
    assert demonstration.compare({modality: source}, workspace.bucket / job["s3_prefix"])[::2] == (2, [])


def test_what_a_site_does_not_let_manifests_set_is_refused_with_the_field_and_the_rule(
    workspace: Workspace, allen: Path
) -> None:
    fill(allen / ACQUIRED / "ecephys" / "655019_2023-04-03_18-17-07")
    name = "upload_with_custom_slurm_settings.json"
    shutil.copy(SAMPLES / "payloads" / name, workspace.inbox)
    workspace.until_idle()
    status = workspace.status(name)
    assert status["state"] == "refused"
    messages = [problem["message"] for problem in status["problems"] if problem["level"] == "error"]
    assert any(
        "image_resources.memory_per_cpu" in message and "policy.manifests_may_set" in message for message in messages
    )
