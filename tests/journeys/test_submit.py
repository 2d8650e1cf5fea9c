"""``dropbox-agent submit --follow``: handed in by a command and watched to its end."""

from __future__ import annotations

from pathlib import Path

from workspace import QUICK, Workspace, a_row, write_csv


def test_a_manifest_is_followed_to_its_end(workspace: Workspace, sources: dict[str, Path]) -> None:
    config = ("--config", str(workspace.config))
    good, bad = workspace.folder / "good.csv", workspace.folder / "bad.csv"
    write_csv(good, [a_row(sources, **QUICK)])
    write_csv(bad, [a_row(sources, job_type="ephsy")])
    workspace.change(executor={"kind": "rehearsal"})
    workspace.start()
    done = workspace.agent("submit", str(good), "--follow", *config)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == str(workspace.inbox / "good.csv")
    assert done.stdout.splitlines()[-1] == "good.csv: 1 job done without an upload."
    refused = workspace.agent("submit", str(bad), "--follow", *config)
    assert (refused.returncode, refused.stdout.splitlines()[-1]) == (
        1,
        "bad.csv: Refused: 1 problem in row 2; nothing was uploaded.",
    )


def test_what_was_refused_is_followed_anew_when_it_is_handed_in_again(
    workspace: Workspace, sources: dict[str, Path]
) -> None:
    file = workspace.folder / "s.csv"
    away = sources["ecephys"].with_name("elsewhere")
    write_csv(file, [a_row(sources, **QUICK)])
    sources["ecephys"].rename(away)
    workspace.change(executor={"kind": "rehearsal"})
    workspace.start()
    config = ("--config", str(workspace.config))
    assert workspace.agent("submit", str(file), "--follow", *config).returncode == 1
    (workspace.inbox / "s.csv").unlink()
    away.rename(sources["ecephys"])
    again = workspace.agent("submit", str(file), "--follow", *config)
    assert again.returncode == 0, again.stdout + again.stderr
