"""A cluster with accounting: slurmdbd on a MariaDB of its own. It measures memory, and ends what uses too much."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil
from cluster import Cluster, listens
from ports import free_ports

PROGRAMS = ("slurmdbd", "mariadbd", "mariadb-install-db", "sacct", "sacctmgr")
DATABASE = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdPort={port}
SlurmUser={user}
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key={folder}/jwt.key
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=accounts
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
"""
MORE = """
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge.socket
AccountingStorageEnforce=limits
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
PartitionName=low Nodes=n[1-4] PriorityTier=1 MaxTime=1-0 State=UP
PartitionName=urgent Nodes=n[1-4] PriorityTier=9 MaxTime=1-0 State=UP
"""
INSTEAD = {
    "JobAcctGatherType=jobacct_gather/none": "JobAcctGatherType=jobacct_gather/linux",
    "Default=YES": "Default=YES PreemptMode=OFF",
    "SelectTypeParameters=CR_Core,CR_LLN": "SelectTypeParameters=CR_Core_Memory,CR_LLN",
}


def missing_programs() -> list[str]:
    """Return what accounting needs and is not installed here."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


class AccountedCluster(Cluster):
    """The four nodes, their accounts, and two partitions of which one gives way to the other."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (port,) = free_ports(1)
        text = self.config.read_text()
        for there, better in INSTEAD.items():
            assert there in text, there
            text = text.replace(there, better)
        self.config.write_text(text + MORE.format(port=port, folder=folder))
        settings = DATABASE.format(folder=folder, port=port, user=psutil.Process().username())
        (folder / "slurmdbd.conf").write_text(settings)
        (folder / "slurmdbd.conf").chmod(0o600)

    def _before_the_controller(self) -> None:
        self._make_database()
        self._start("slurmdbd", "slurmdbd", "-D")
        self.wait_for(lambda: self.run("sacctmgr", "-n", "show", "cluster").returncode == 0, "slurmdbd")
        self.run("sacctmgr", "-i", "add", "cluster", "private")

    def _make_database(self) -> None:
        data, user = self.folder / "database", psutil.Process().username()
        where = ["--no-defaults", f"--datadir={data}", f"--user={user}"]
        made = subprocess.run(
            ["mariadb-install-db", *where, "--auth-root-authentication-method=normal", "--skip-test-db"],
            capture_output=True, text=True, check=False, env=self._whole_environment(),
        )  # fmt: skip
        assert made.returncode == 0, made.stdout + made.stderr
        small = ["--skip-networking", "--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0"]
        self._start("mariadbd", "mariadbd", *where, *small, f"--socket={self.folder}/mariadb.socket")
        self.wait_for(lambda: listens(self.folder / "mariadb.socket"), "mariadbd")

    def _whole_environment(self, **more: str) -> Mapping[str, str]:
        return {**super()._whole_environment(**more), "MYSQL_UNIX_PORT": str(self.folder / "mariadb.socket")}
