"""A Slurm cluster of two nodes on the loopback interface, for tests marked `slurm`."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.serving import TIMEOUT_SECONDS, free_port, until

NODES = ("node0", "node1")
CPUS_PER_NODE = 2

_CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
# Without the munge daemon. Requeued tasks wait until their old credential has expired.
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
# More CPUs than the machine may have.
SlurmdParameters=config_overrides
ReturnToService=2
{nodes}PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
_NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus}\n"


@dataclass(frozen=True)
class SlurmCluster:
    """A running cluster.

    Attributes:
        folder: Folder of its files and of the jobs' logs.
        variables: Environment variables of its commands.
    """

    folder: Path
    variables: Mapping[str, str]

    def run(self, *command: str, cwd: Path | None = None) -> str:
        """Run one of Slurm's commands and return its output."""
        result = subprocess.run(
            command,
            cwd=cwd or self.folder,
            env={**os.environ, **self.variables},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
        return result.stdout.strip()

    def states(self, job: str) -> dict[str, str]:
        """Return the state of each task of a job, such as RUNNING, by its name JOB_INDEX."""
        lines = self.run("squeue", "--array", "--states=all", "--noheader", "--format=%i %T")
        states = dict(line.split() for line in lines.splitlines())
        return {task: state for task, state in states.items() if task.partition("_")[0] == job}


@contextmanager
def running_slurm(folder: Path) -> Iterator[SlurmCluster]:
    """Run a controller and a node until the block ends."""
    configuration = folder / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    nodes = [
        _NODE.format(name=name, host=host, port=free_port(), cpus=CPUS_PER_NODE) for name in NODES
    ]
    configuration.write_text(
        _CONFIGURATION.format(
            folder=folder,
            host=host,
            port=free_port(),
            user=getpass.getuser(),
            nodes="".join(nodes),
        )
    )
    for name in ("state", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir()
    cluster = SlurmCluster(folder, {"SLURM_CONF": str(configuration)})
    with ExitStack() as stack:
        for command in (["slurmctld", "-i"], *(["slurmd", "-N", name] for name in NODES)):
            process = subprocess.Popen(
                [*command, "-D", "-f", str(configuration)],
                env={**os.environ, **cluster.variables},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait, TIMEOUT_SECONDS)
            stack.callback(process.terminate)
        until(lambda: cluster.run("sinfo", "--noheader", "--format=%T %D") == f"idle {len(NODES)}")
        try:
            yield cluster
        finally:
            cluster.run("scancel", f"--user={getpass.getuser()}")
            until(lambda: not cluster.run("squeue", "--noheader"))
