"""Settings: read with line numbers, refused all at once, overridden by the environment, written with every sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from dropbox_agent import settings
from dropbox_agent.errors import AgentError, SettingsError
from dropbox_agent.examine import presets_in
from dropbox_agent.model import Task
from dropbox_agent.settings import Executor, Inbox, Mail, Metadata, Policy, Presets, Settings, Site, Web
from dropbox_agent.settings.kinds import TASK_FIELDS

REPOSITORY = Path(__file__).parent.parent


def write(folder: Path, text: str) -> Path:
    file = folder / "agent.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def findings(folder: Path, text: str, **environ: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as refused:
        settings.load(write(folder, text), environ)
    return refused.value.findings


# --- a good file -----------------------------------------------------------------------------------------------------


EVERY_SETTING = r"""
inboxes:
  - {path: in, settle_seconds: 0.5, settle_max_seconds: 5, scan_seconds: 1}
  - path: /srv/other inbox
work_dir: ../work
state_dir: /var/lib/dropbox-agent
executor:
  {kind: slurm, slots: 8, env_file: secrets.env, via: cli, partition: gpu, account: lab, qos: high,
   poll_seconds: 5, grace_seconds: 30, python: venv/bin/python}
presets: {kind: yaml, folder: job_types}
buckets: {default: file:///srv/bucket, open: "file:///srv/f%C3%BCr alle", private: /srv/private}
projects: [Ephys Platform, Learning mFISH]
policy: {source_roots: [/data, more], manifests_may_set: all, source_removal: true}
site: {name: Room 7, help_url: "https://wiki.example.org/upload", contact: "data@example.org"}
path_map: {'\\server\share': /mnt/share, 'Z:\': /mnt/z}
mail: {kind: file, sender: agent@example.org, default_to: data@example.org}
web: {host: 0.0.0.0, port: 80}
metadata: {required: true, strict: true}
templates: our_templates
on_error: row
jobs_per_manifest: 7
compat: none
"""


def test_every_setting_of_a_file_arrives(tmp_path: Path) -> None:
    file = write(tmp_path, EVERY_SETTING)
    loaded = settings.load(file, {})
    assert loaded == Settings(
        inboxes=(
            Inbox(path=tmp_path / "in", settle_seconds=0.5, settle_max_seconds=5, scan_seconds=1),
            Inbox(path=Path("/srv/other inbox")),
        ),
        work_dir=tmp_path.parent / "work",
        state_dir=Path("/var/lib/dropbox-agent"),
        executor=Executor(
            kind="slurm",
            slots=8,
            env_file=tmp_path / "secrets.env",
            partition="gpu",
            account="lab",
            qos="high",
            poll_seconds=5,
            grace_seconds=30,
            python=tmp_path / "venv/bin/python",
        ),
        presets=Presets(folder=tmp_path / "job_types"),
        buckets={
            "default": "file:///srv/bucket",
            "open": "file:///srv/f%C3%BCr%20alle",
            "private": "file:///srv/private",
        },
        projects=("Ephys Platform", "Learning mFISH"),
        policy=Policy(source_roots=(Path("/data"), tmp_path / "more"), manifests_may_set="all", source_removal=True),
        site=Site(name="Room 7", help_url="https://wiki.example.org/upload", contact="data@example.org"),
        path_map={"\\\\server\\share": "/mnt/share", "Z:\\": "/mnt/z"},
        mail=Mail(sender="agent@example.org", default_to="data@example.org"),
        web=Web(host="0.0.0.0", port=80),
        metadata=Metadata(required=True, strict=True),
        templates=tmp_path / "our_templates",
        on_error="row",
        jobs_per_manifest=7,
    ).below(Path("/"), file)
    assert loaded.file == file


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "site:\npolicy:\n"])
def test_what_a_file_leaves_out_has_its_default(tmp_path: Path, text: str) -> None:
    file = write(tmp_path, text)
    assert settings.load(file, {}) == Settings().below(tmp_path, file)


def test_a_file_saved_by_windows_is_read(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_bytes(b"\xef\xbb\xbfweb:\r\n  port: 80\r\n")
    assert settings.load(file, {}).web == Web(port=80)


def test_the_home_folder_is_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    loaded = settings.load(write(tmp_path, "work_dir: ~/work\nbuckets: {default: ~/bucket}\n"), {})
    assert loaded.work_dir == tmp_path / "home/work"
    assert loaded.buckets == {"default": (tmp_path / "home/bucket").as_uri()}


# --- which file ------------------------------------------------------------------------------------------------------


def test_the_file_is_the_one_given_then_the_one_named_then_the_one_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    here, named, given = (tmp_path / name for name in ("config/agent.yaml", "named.yaml", "given.yaml"))
    for number, file in enumerate((here, named, given), start=1):
        file.write_text(f"web: {{port: {number}}}")
    environ = {"DROPBOX_AGENT_CONFIG": "named.yaml"}
    assert [settings.load(path, env).file for path, env in ((given, environ), (None, environ), (None, {}))] == [
        given,
        named,
        here,
    ]
    assert [settings.load(path, env).web.port for path, env in ((given, environ), (None, environ), (None, {}))] == [
        3,
        2,
        1,
    ]


def test_without_any_file_the_packaged_defaults_start_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = settings.load(None, {"HOME": "/root", "DROPBOX": "1"})
    assert loaded == Settings().below(tmp_path)
    assert (loaded.file, loaded.origin) == (None, "the packaged defaults")
    assert loaded.presets.folder == settings.packaged("config", "job_types")


def test_the_environment_alone_makes_no_settings() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DROPBOX_AGENT_WEB__PORT", "99")
        assert Settings().web.port == 8000


@pytest.mark.parametrize("folder", [False, True])
def test_a_file_that_cannot_be_read_is_said(tmp_path: Path, folder: bool) -> None:
    file = tmp_path / "agent.yaml"
    if folder:
        file.mkdir()
    with pytest.raises(SettingsError) as refused:
        settings.load(file, {})
    reason = "Is a directory" if folder else "No such file or directory"
    assert str(refused.value) == f"{file}: the file cannot be read: {reason}."
    assert refused.value.exit_code == 2


# --- what is wrong ---------------------------------------------------------------------------------------------------


def test_all_findings_come_at_once_in_the_order_of_the_file_each_with_its_line(tmp_path: Path) -> None:
    text = """\
inboxs: [x]
inboxes:
  - path: in
    settle_secs: 3
    scan_seconds: -1
  - 5
work_dir: 5
state_dir: a
state_dir: b
web: {port: eighty, host: 1}
projects: [no, 12, fine]
"""
    assert findings(tmp_path, text, DROPBOX_AGENT_EXECUTOR__SLOTS="none") == (
        "line 1: inboxs is not a setting. Did you mean inboxes?",
        "line 4: inboxes[0].settle_secs is not a setting. Did you mean settle_seconds?",
        "line 5: inboxes[0].scan_seconds: -1 is too small; more than 0 is needed.",
        "line 6: inboxes[1]: 5 is not a section; write its settings below it, indented.",
        "line 7: work_dir: 5 is not a path; write it as text, in quotes if need be.",
        'line 9: "state_dir" is there twice, also in line 8; keep one of them.',
        "line 10: web.host: 1 is not text; put it in quotes.",
        'line 10: web.port: "eighty" is not a whole number.',
        "line 11: projects[0]: false is not text; put it in quotes.",
        "line 11: projects[1]: 12 is not text; put it in quotes.",
        'DROPBOX_AGENT_EXECUTOR__SLOTS: executor.slots: "none" is not a whole number.',
    )


def test_the_error_names_the_file_in_every_line(tmp_path: Path) -> None:
    file = write(tmp_path, "a: 1\nb: 2\n")
    with pytest.raises(SettingsError) as refused:
        settings.load(file, {})
    assert [line.partition(": line")[0] for line in str(refused.value).splitlines()] == [str(file)] * 2


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("on-error: row", "on-error is not a setting. Did you mean on_error?"),
        ("Web: {port: 1}", "Web is not a setting. Did you mean web?"),
        ("_env_file: x", "_env_file is not a setting. Known here: "),
        ("web: {xyzzy: 1}", "web.xyzzy is not a setting. Known here: host, port, in_run."),
        ("? [a]\n: 1", "there is a key that is not plain text; write KEY: VALUE."),
        ("- a\n- b", "a list stands where settings are needed; write NAME: VALUE lines."),
        ("just words", '"just words" stands where settings are needed; write NAME: VALUE lines.'),
        ("inboxes:", "inboxes: nothing is not a list; write one line \"- value\" for each, or [] for none."),
        ("inboxes: in", 'inboxes: "in" is not a list; write one line "- value" for each, or [] for none.'),
        ("inboxes: [{path: ''}]", 'inboxes[0].path: "" is empty.'),
        ("inboxes: [{settle_seconds: .inf}]", "inboxes[0].settle_seconds: inf is not a finite number."),
        ("inboxes: [{settle_seconds: true}]", "inboxes[0].settle_seconds: true is not a number."),
        ("inboxes: [{settle_seconds: 0}]", "inboxes[0].settle_seconds: 0 is too small; more than 0 is needed."),
        ("executor: {slots: 0}", "executor.slots: 0 is too small; 1 or more is needed."),
        ("executor: {slots: 1.5}", "executor.slots: 1.5 is not a whole number."),
        ("executor: {kind: lokal}", 'executor.kind: "lokal" is not known. Did you mean local?'),
        ("executor: [local]", "executor: a list is not a section; write its settings below it, indented."),
        ("web: {port: 70000}", "web.port: 70000 is too large; at most 65535 is allowed."),
        ("on_error: nothing", 'on_error: "nothing" is not known. Known: file, row.'),
        ("policy: {source_removal: 1}", "policy.source_removal: 1 is neither true nor false."),
        ("metadata: {required: maybe}", 'metadata.required: "maybe" is neither true nor false.'),
        ("policy: {manifests_may_set: most}", 'policy.manifests_may_set: "most" is not known. Known: all.'),
        (
            "policy: {manifests_may_set: [skip_task, scripts]}",
            'policy.manifests_may_set[1]: "scripts" is not a field of a task; those are skip_task, image,'
            " image_version, image_resources, job_settings, command_script and, inside, image_resources.array.",
        ),
        ("site: {help_url: 'javascript:x'}", 'site.help_url: "javascript:x" is not a web address; it begins with'
         " https:// or http://."),
        ('site: {name: "a\\nb"}', 'site.name: "a\\nb" contains a control character.'),
        ("mail: {sender: nobody}", 'mail.sender: "nobody" is not one e-mail address.'),
        ("mail: {sender: 'a@b, c@d'}", 'mail.sender: "a@b, c@d" is not one e-mail address.'),
        ("path_map: [a]", "path_map: a list is not a section; write NAME: VALUE lines below it, or {} for none."),
        ("path_map: {'Z:': 3}", "path_map.Z:: 3 is not a path; write it as text, in quotes if need be."),
        ("work_dir: ~nobody-here/x", 'work_dir: "~nobody-here/x" begins with the home folder (~) of somebody unknown'
         " here."),
        ("buckets: {a b: /x}", 'buckets.a b: "a b" is not a name for a bucket; use letters, digits, dots, dashes and'
         " underscores."),
        ("buckets: {default: 'file://host/x'}", 'buckets.default: "file://host/x" is not an address of a folder; write'
         " file:///folder with three slashes."),
        ("buckets: {default: 'gs://x'}", 'buckets.default: "gs://x" is not an address this version knows; write'
         " s3://bucket or file:///folder."),
        ("buckets: {default: 's3://X'}", 'buckets.default: "s3://X" does not name a bucket as S3 does; write s3://name,'
         " of 3 to 63 a-z, 0-9, dots and dashes."),
        ("buckets: {default: 's3://aind/a//b'}", 'buckets.default: "s3://aind/a//b" has a prefix of other characters'
         " than letters, digits and ._=- between single slashes."),
        ("projects_url: 'https://me:s@lab/names'", 'projects_url: "https://me:s@lab/names" has a name or password in'),
        ("metadata: {service_url: 'https://a:s@lab'}", 'metadata.service_url: "https://a:s@lab" has a name or passwor'),
        ("metadata: {service_url: 'https://lab?k=s'}", 'metadata.service_url: "https://lab?k=s" is more than the addr'),
        ("codeocean: {domain: 'https://me:s@ocean'}", 'codeocean.domain: "https://me:s@ocean" has a name or password'),
        ("presets: {endpoint_url: 'https://k:s@aws'}", 'presets.endpoint_url: "https://k:s@aws" has a name or passw'),
        ("s3: {endpoint_url: 'https://key:secret@s3.lab'}", "s3.endpoint_url: \"https://key:secret@s3.lab\" has a"
         " name or password in it; keys belong into a profile or a credentials file."),
        ("s3: {buckets: {open: {keys: x}}}", "s3.buckets.open.keys is not a setting."),
        ("web: {port: 1, port: 2}", '"port" is there twice, also in line 1; keep one of them.'),
        ("a: &a 1\nsite: {name: *a}", "*a is an alias; write the value out here."),
        ("site: {name: !!python/name:os.system }", "!!python/name:os.system is a tag; leave it out, values need none."),
        ("web: {port: 12:30}", 'web.port: "12:30" is not a whole number.'),
        ("web: {port: 2024-13-45}", 'web.port: "2024-13-45" is not a whole number.'),
        pytest.param("web: " + "[" * 600, "this is nested more than 50 deep; nothing here needs to be.", id="deep"),
        ("web: [", "this is not YAML: "),
    ],
)  # fmt: skip
def test_each_wrong_setting_says_what_would_be_right(tmp_path: Path, text: str, finding: str) -> None:
    found = [words.partition(": ")[2] if words.startswith("line ") else words for words in findings(tmp_path, text)]
    assert any(words.startswith(finding) for words in found), found


def test_a_bad_character_is_said(tmp_path: Path) -> None:
    assert findings(tmp_path, "a: \x01") == ("line 1: a character here is not allowed in YAML; type it anew.",)
    (tmp_path / "agent.yaml").write_bytes(b"site:\n  name: M\xfcller\n")
    with pytest.raises(SettingsError) as refused:
        settings.load(tmp_path / "agent.yaml", {})
    assert refused.value.findings == ("line 2: this is not UTF-8 text; save the file as UTF-8.",)


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("executor: {kind: slurm, via: rest}", "executor.url: via: rest needs to know where slurmrestd listens; write"
         " http://host:port or unix:/path."),
        ("executor: {kind: slurm, via: rest, url: 'slurm:6820'}", 'executor.url: "slurm:6820" is not where a slurmrestd'
         " listens; write http://host:port or unix:/path."),
    ],
)  # fmt: skip
def test_what_slurmrestd_needs_is_asked_for(tmp_path: Path, text: str, finding: str) -> None:
    assert findings(tmp_path, text) == (f"line 1: {finding}",)


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (
            "api: {submit: true}",
            "api.submit: nobody could submit. Make a token ('dropbox-agent token NAME' prints the lines for"
            " api.tokens), or name the proxy's addresses (api.proxy.addresses).",
        ),
        ("api: {tokens: [{name: rig}]}", "api.tokens[0]: sha256 is missing here; it has no default."),
        (
            "api: {tokens: [{name: rig, sha256: secret}]}",
            "api.tokens[0].sha256: what stands there is not a sha256: 64 digits and letters a to f;"
            " 'dropbox-agent token NAME' prints it.",
        ),
        (
            f"api: {{tokens: [{{name: rig, sha256: {'a' * 64}}}, {{name: rig, sha256: {'b' * 64}}}]}}",
            "api.tokens[1].name: another token is called rig too.",
        ),
        (
            "api: {tokens: [{name: Rig 3}]}",
            'api.tokens[0].name: "Rig 3" is not a name for a token;'
            " use at most 40 lower-case letters, digits and dashes.",
        ),
        (
            "api: {proxy: {addresses: [x.example.org]}}",
            'api.proxy.addresses[0]: "x.example.org" is not an address or network, such as 127.0.0.1 or 10.0.0.0/24.',
        ),
    ],
)
def test_nobody_submits_without_being_known_by_name(tmp_path: Path, text: str, finding: str) -> None:
    assert f"line 1: {finding}" in findings(tmp_path, text)


def test_charliecloud_needs_a_folder_of_images(tmp_path: Path) -> None:
    assert findings(tmp_path, "containers: {kind: charliecloud}") == (
        "line 1: containers.images: charliecloud fetches no images; set the folder they are in.",
    )
    assert findings(tmp_path, "containers: {kind: docker}") == (
        'line 1: containers.kind: "docker" is not known. Known: none, apptainer, singularity, charliecloud.',
    )


def test_no_folder_of_the_agent_may_lie_in_an_inbox(tmp_path: Path) -> None:
    text = """\
inboxes:
  - path: in
  - path: ./in/../in
work_dir: in
state_dir: in/state
buckets: {default: in/bucket, open: inner}
presets: {folder: in/job_types}
templates: in/templates
containers: {images: in/images}
"""
    inside = f"lies in the inbox {tmp_path}/in; choose a folder outside it."
    assert findings(tmp_path, text) == (
        f"line 3: inboxes[1].path: {tmp_path}/in is watched already, by another entry.",
        f"line 4: work_dir: {tmp_path}/in {inside}",
        f"line 5: state_dir: {tmp_path}/in/state {inside}",
        f"line 6: buckets.default: {tmp_path}/in/bucket {inside}",
        f"line 7: presets.folder: {tmp_path}/in/job_types {inside}",
        f"line 8: templates: {tmp_path}/in/templates {inside}",
        f"line 9: containers.images: {tmp_path}/in/images {inside}",
    )


# --- the environment -------------------------------------------------------------------------------------------------


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "web: {host: 0.0.0.0, port: 1}\nbuckets: {default: a, open: b}\nmail: {default_to: a@b}\n")
    environ = {
        "DROPBOX_AGENT_CONFIG": "elsewhere.yaml",
        "DROPBOX_AGENT_ATTEMPT": "dbx-1",
        "DROPBOX_AGENT_WEB__PORT": "2",
        "DROPBOX_AGENT_BUCKETS__OPEN": "/open",
        "DROPBOX_AGENT_INBOXES": '[{"path": "in2"}]',
        "DROPBOX_AGENT_POLICY__SOURCE_REMOVAL": "true",
        "DROPBOX_AGENT_POLICY__MANIFESTS_MAY_SET": "all",
        "DROPBOX_AGENT_MAIL__DEFAULT_TO": "null",
        "DROPBOX_AGENT_PROJECTS": '["one"]',
        "DROPBOX_AGENT_SITE": '{"name": "Here"}',
    }
    expected = Settings(
        web=Web(host="0.0.0.0", port=2),
        buckets={"default": "a", "open": "/open"},
        inboxes=(Inbox(path=Path("in2")),),
        policy=Policy(source_removal=True, manifests_may_set="all"),
        projects=("one",),
        site=Site(name="Here"),
    )
    assert settings.load(file, environ) == expected.below(tmp_path, file)


def test_a_wrong_variable_is_named_and_not_the_line_it_overrides(tmp_path: Path) -> None:
    environ = {
        "DROPBOX_AGENT_WEP": "1",
        "DROPBOX_AGENT_SITE__NAM": "x",
        "DROPBOX_AGENT_WEB__PORT": "x",
        "DROPBOX_AGENT_PROJECTS": "a,b",
        "DROPBOX_AGENT_INBOXES__0__PATH": "x",
        "DROPBOX_AGENT_PRESETS__KIND": "ini",
    }
    assert findings(tmp_path, "web: {port: 1}\n", **environ) == (
        'DROPBOX_AGENT_PROJECTS: "a,b" is not JSON; lists and sections are written as JSON, for example'
        ' ["one", "two"].',
        "DROPBOX_AGENT_SITE__NAM: site.nam is not a setting. Did you mean name?",
        "DROPBOX_AGENT_WEP: wep is not a setting. Did you mean web?",
        'DROPBOX_AGENT_INBOXES__0__PATH: inboxes: a section is not a list; write one line "- value" for each, or []'
        " for none.",
        'DROPBOX_AGENT_PRESETS__KIND: presets.kind: "ini" is not known. Known: yaml, ssm.',
        'DROPBOX_AGENT_WEB__PORT: web.port: "x" is not a whole number.',
    )


# --- written down ----------------------------------------------------------------------------------------------------


def test_config_agent_yaml_has_every_setting_with_its_default_and_its_sentence(tmp_path: Path) -> None:
    text = settings.packaged("config", "agent.yaml").read_text(encoding="utf-8")
    assert text == settings.as_yaml(Settings()), "run: make docs"
    assert yaml.safe_load(text).keys() == Settings.model_fields.keys()
    file = write(tmp_path, text)
    assert settings.load(file, {}) == Settings().below(tmp_path, file)


def test_docs_settings_md_is_current() -> None:
    assert (REPOSITORY / "docs/settings.md").read_text(encoding="utf-8") == settings.as_markdown(), "run: make docs"


def test_every_setting_has_one_sentence() -> None:
    for line in settings.as_markdown().splitlines():
        if line.startswith("| `"):
            sentence = line.rstrip(" |").rpartition(" | ")[2]
            assert sentence.endswith(".") and ". " not in sentence, line


def test_a_manifest_may_be_allowed_every_field_of_a_task() -> None:
    assert tuple(Task.model_fields) == TASK_FIELDS


@pytest.mark.parametrize("name", ["site", "a 0", "a'; echo foo", "Müller: #1", "100%", '"quoted" \\ {x}'])
def test_a_workspace_can_be_loaded_again(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "deep" / name
    file = settings.write_workspace(folder)
    assert file == folder / "agent.yaml"
    assert settings.load(file, {}) == Settings(
        inboxes=(Inbox(path=folder / "inbox"),),
        work_dir=folder / "work",
        state_dir=folder / "state",
        presets=Presets(folder=folder / "job_types"),
        buckets={bucket: (folder / "buckets" / bucket).as_uri() for bucket in ("default", "private", "open")},
    ).below(folder, file)
    folders = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_dir()}
    assert folders == {
        "inbox", "work", "state", "job_types", "buckets", "buckets/default", "buckets/private", "buckets/open",
    }  # fmt: skip
    shipped = settings.packaged("config", "job_types")
    assert {p.name: p.read_bytes() for p in (folder / "job_types").iterdir()} == {
        p.name: p.read_bytes() for p in shipped.iterdir()
    }


def test_a_workspace_names_every_path_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written = yaml.safe_load(settings.write_workspace(Path("here")).read_text(encoding="utf-8"))
    here = tmp_path / "here"
    assert written["inboxes"][0]["path"] == str(here / "inbox")
    assert (written["work_dir"], written["state_dir"]) == (str(here / "work"), str(here / "state"))
    assert written["presets"]["folder"] == str(here / "job_types")
    assert written["buckets"]["default"] == f"file://{here}/buckets/default"


def test_a_workspace_is_made_in_an_empty_folder_and_in_no_other(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    settings.write_workspace(tmp_path / "empty")
    (tmp_path / "file").write_text("mine")
    for taken, reason in (("empty", "is not empty"), ("file", "is not a folder")):
        with pytest.raises(SettingsError) as refused:
            settings.write_workspace(tmp_path / taken)
        assert refused.value.findings == (
            f"this folder {reason}; init makes a workspace in a missing or empty one."
            if taken == "empty"
            else "this is not a folder; init makes a workspace in a missing or empty one.",
        )
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("caf\udce9", "this name is not UTF-8; choose another one."),
        ("x" * 300, "File name too long"),
        ("file/below", "this is not a folder"),
    ],
)
def test_a_workspace_that_cannot_be_made_is_said(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AgentError) as refused:
        settings.write_workspace(tmp_path / name)
    assert reason in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("mail: {kind: smtp}", "mail.kind: smtp needs the mail server (mail.host)."),
        ("mail: {host: mail}", "mail.host: no mail server is used while mail.kind is file; write kind: smtp."),
        ("mail: {kind: smtp, host: mail, username: me}",
         "mail.username needs a password: mail.password_file or mail.password_env."),
        ("mail: {kind: smtp, host: mail, password_env: PW}",
         "mail.username is not set, and there is a password; a login needs both."),
        ("mail: {kind: smtp, host: mail, username: me, password_env: PW, password_file: pw}",
         "mail.password_env: there is mail.password_file too; keep one of them."),
        ("mail: {kind: smtp, host: mail, username: me, password_env: not a name}",
         'mail.password_env: "not a name" is not the name of an environment variable.'),
        ("mail: {kind: smtp, host: mail, security: ssl}",
         'mail.security: "ssl" is not known. Known: starttls, tls, none.'),
        ("presets: {kind: ssm}", "presets.kind: ssm needs the beginning of the parameters' names (presets.prefix)."),
        ("presets: {prefix: job_types/}", 'presets.prefix: "job_types/" is not the beginning of a parameter\'s name;'
         " write /name/name, without a slash at the end."),
        ("mail: {password: geheim}", "mail.password is not a setting. Did you mean password_env?"),
    ],
)  # fmt: skip
def test_what_belongs_together_in_a_service_is_asked_for(tmp_path: Path, text: str, finding: str) -> None:
    assert findings(tmp_path, text) == (f"line 1: {finding}",)


def examples_of_services(*, job_types: bool = False) -> list[str]:
    text = (REPOSITORY / "docs/services.md").read_text(encoding="utf-8")
    found = re.findall(r"```yaml\n(.*?)```", text, re.S)
    return [one for one in found if one.startswith("tasks:") is job_types]


@pytest.mark.parametrize("text", examples_of_services(job_types=True))
def test_the_examples_of_job_types_can_be_used(tmp_path: Path, text: str) -> None:
    (tmp_path / "ours.yaml").write_text(text)
    stored = presets_in(tmp_path)()
    assert (set(stored.job_types), stored.broken) == ({"ours"}, {})


@pytest.mark.parametrize("text", examples_of_services())
def test_the_examples_for_operators_can_be_used(tmp_path: Path, text: str) -> None:
    assert settings.load(write(tmp_path, text), {}).file == tmp_path / "agent.yaml"


def test_the_settings_shown_in_the_page_on_uploads_are_settings(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "uploads.md").read_text("utf-8")
    blocks = [block.split("```")[0] for block in page.split("```yaml\n")[1:]]
    shown = [block for block in blocks if not block.startswith("tasks:")]
    assert len(shown) == 2
    file = tmp_path / "agent.yaml"
    file.write_text("\n".join(shown))
    loaded = settings.load(file, {})
    assert loaded.buckets["default"] == "s3://aind-private/raw"
    assert loaded.s3.buckets["open"].region == "us-west-2"
    assert (loaded.policy.source_removal, loaded.policy.quarantine_days) == (True, 14)
