"""Setting up on a fresh machine: Debian packages are installed as root, else it is said what to install.

The script runs as it is; the machine around it (python3, apt-get, id) is made of small stand-ins.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / ".ci/make-venv"
PACKAGES = SCRIPT.with_name("install-slurm")
PYTHON = """#!{bash}
case "$*" in
  *version_info\\ \\<*) [ -e {old} ] && exit 1 || exit 0 ;;
  *ensurepip*) [ -e {whole} ] ;;
  *%d.%d*) echo 3.11 ;;
  --version) echo Python 3.8.1 ;;
  "-m venv"*) echo "made ${{@: -1}} with $0" >> {log} ;;
esac
"""


@dataclass
class Machine:
    """A machine with some programs; what they were asked is in its log."""

    folder: Path

    def has(self, name: str, text: str) -> None:
        """Put a program on the path."""
        bash = shutil.which("bash")
        program = self.folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        places = {"bash": bash, "old": self.folder / "old", "whole": self.folder / "whole", "log": self.folder / "log"}
        program.write_text(text.format(**places))
        program.chmod(0o755)

    def has_tools(self, *names: str) -> None:
        """Put programs of this machine on the path."""
        for name in names:
            self.has(name, f'#!{{bash}}\nexec {shutil.which(name)} "$@"\n')

    def is_run_by(self, uid: int) -> None:
        self.has("id", f"#!{{bash}}\necho {uid}\n")

    def has_apt(self) -> None:
        """Packages are there: python3.11-venv makes Python whole, python3 brings one."""
        python = self.folder / "python3"
        bring = f'while read -r line; do echo "$line"; done < {python} > {self.folder}/bin/python3'
        bring += f"; /bin/chmod +x {self.folder}/bin/python3; : > {{whole}}"
        self.has("python3", PYTHON)
        (self.folder / "bin/python3").rename(python)
        self.has(
            "apt-get",
            '#!{bash}\necho "apt-get $*" >> {log}\n'
            f'case "$*" in *-venv*) : > {{whole}} ;; esac\ncase "$*" in *"python3 "*) {bring} ;; esac\n',
        )

    def set_up(self, python: str = "") -> tuple[int, str, list[str]]:
        """Return how the script ended, what it complained about, and what was done to the machine."""
        return self.run(SCRIPT, str(self.folder / "venv"), PYTHON=python)

    def run(self, script: Path, *words: str, **environ: str) -> tuple[int, str, list[str]]:
        """Return how a script ended, what it complained about, and what was done to the machine."""
        done = subprocess.run(
            [shutil.which("bash") or "bash", str(script), *words],
            env={"PATH": str(self.folder / "bin"), **environ},
            capture_output=True,
            text=True,
            check=False,
        )
        log = self.folder / "log"
        return done.returncode, done.stderr, log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_whole_python_makes_the_environment(machine: Machine) -> None:
    machine.has("python3", PYTHON)
    machine.is_run_by(1000)
    (machine.folder / "whole").touch()
    made = f"made {machine.folder}/venv with {machine.folder}/bin/python3"
    assert machine.set_up() == (0, "", [made])


def test_as_root_on_debian_the_missing_package_is_installed(machine: Machine) -> None:
    machine.has_apt()
    machine.has("python3", PYTHON)
    machine.is_run_by(0)
    code, complaint, done = machine.set_up()
    assert (code, complaint) == (0, "")
    assert done[:2] == ["apt-get update -qq", "apt-get install -y -qq --no-install-recommends python3.11-venv"]
    assert done[2:] == [f"made {machine.folder}/venv with {machine.folder}/bin/python3"]


def test_as_root_on_debian_a_missing_python_is_installed(machine: Machine) -> None:
    machine.has_apt()
    machine.is_run_by(0)
    code, complaint, done = machine.set_up()
    assert (code, complaint) == (0, "")
    assert done[1:2] == ["apt-get install -y -qq --no-install-recommends python3 python3-venv"]
    assert done[2:] == [f"made {machine.folder}/venv with {machine.folder}/bin/python3"]


@pytest.mark.parametrize(("uid", "apt"), [(1000, True), (0, False)])
def test_else_it_is_said_what_to_install(machine: Machine, uid: int, apt: bool) -> None:
    if apt:
        machine.has_apt()
    machine.has("python3", PYTHON)
    machine.is_run_by(uid)
    assert machine.set_up() == (
        1,
        "Please install python3.11-venv (on Debian and Ubuntu, as root: apt-get install python3.11-venv),"
        " then run make again.\n",
        [],
    )


def test_a_python_that_is_too_old_is_said(machine: Machine) -> None:
    machine.has("python3", PYTHON)
    machine.is_run_by(1000)
    (machine.folder / "old").touch()
    code, complaint, done = machine.set_up()
    assert (code, done) == (1, [])
    assert complaint.startswith("Please install python3 python3-venv, version 3.10 or newer")
    assert machine.set_up(python="python3") == (1, "python3 is not a Python 3.10 or newer.\n", [])


def test_an_environment_that_works_is_kept(machine: Machine) -> None:
    machine.has("python3", PYTHON)
    (machine.folder / "whole").touch()
    (machine.folder / "venv").mkdir()
    shutil.copytree(machine.folder / "bin", machine.folder / "venv/bin")
    (machine.folder / "venv/bin/python3").rename(machine.folder / "venv/bin/python")
    assert machine.set_up() == (0, "", [])


CLUSTER_PACKAGES = (
    "slurmctld slurmd slurmrestd slurm-wlm-jwt-plugin slurmdbd slurm-wlm-mysql-plugin mariadb-server slurm-client munge"
    " charliecloud"
)


def test_slurm_is_installed_for_the_cluster_tests_as_root_on_debian(machine: Machine) -> None:
    machine.has_apt()
    machine.is_run_by(0)
    machine.has_tools("chmod", "rm")
    assert machine.run(PACKAGES, SBIN="/none", POLICY=str(machine.folder / "policy-rc.d")) == (
        0, "", ["apt-get update -qq", f"apt-get install -y -qq --no-install-recommends {CLUSTER_PACKAGES}"],
    )  # fmt: skip


def test_no_service_of_the_system_is_started_by_installing_slurm(machine: Machine) -> None:
    policy = machine.folder / "policy-rc.d"
    machine.has("apt-get", f'#!{{bash}}\n[ -x {policy} ] || exit 9\n{policy}; echo "starts: $?" >> {{log}}\n')
    machine.is_run_by(0)
    machine.has_tools("chmod", "rm")
    assert machine.run(PACKAGES, SBIN="/none", POLICY=str(policy)) == (0, "", ["starts: 101"] * 2)
    assert not policy.exists()


def test_a_policy_of_the_system_stays_as_it_is(machine: Machine) -> None:
    policy = machine.folder / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 104\n")
    machine.has_apt()
    machine.is_run_by(0)
    assert machine.run(PACKAGES, SBIN="/none", POLICY=str(policy))[0] == 0
    assert policy.read_text() == "#!/bin/sh\nexit 104\n"


def test_without_root_it_is_said_that_the_cluster_tests_are_left_out(machine: Machine) -> None:
    machine.is_run_by(1000)
    code, said, done = machine.run(PACKAGES, SBIN="/none")
    assert (code, done) == (0, [])
    assert said.startswith(f"The tests on a real cluster and in containers are left out: {CLUSTER_PACKAGES} are not")


def test_a_slurm_that_is_there_is_left_as_it_is(machine: Machine) -> None:
    machine.has_apt()
    machine.is_run_by(0)
    for program in ("slurmctld", "slurmd", "slurmrestd", "slurmdbd", "mariadbd", "sbatch", "munged", "ch-run"):
        machine.has(program, "#!{bash}\n")
    assert machine.run(PACKAGES, SBIN="/none") == (0, "", [])
