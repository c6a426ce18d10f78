"""A real Slurm on this machine: munge, one controller and two nodes on loopback, for the tests alone."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")

# Jobs lose the environment variable that names another place: the configuration must be where Slurm looks.
CONFIGURATION = Path("/etc/slurm/slurm.conf")
CONTROLLER_PORT = 16817
NODE_PORTS = (16818, 16819)
SECONDS_TO_START = 30

# ProctrackType: a job that is ended takes the processes with it whose parents have gone, by their group.
# cred_expire: seconds until a job that was taken from its node starts again. KillWait: seconds from telling a
# job over its time to end to killing it. OverMemoryKill: a job's memory is looked at every second, without
# cgroups. MinJobAge: finished jobs are told of for an hour.
TEMPLATE = """
ClusterName=quadrat
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=30
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
AccountingStorageType=accounting_storage/none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/finished.txt
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=0
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
MinJobAge=3600
KillWait=2
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP
"""
NODE = "NodeName=n{number} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory=8000"


def why_not() -> str:
    """Tell why no Slurm can be brought up here; empty where it can."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        return f"needs {', '.join(missing)}: apt-get install munge slurmctld slurmd slurm-client"
    if CONFIGURATION.exists():
        return f"{CONFIGURATION}: this machine has a Slurm already"
    return "only root may bring up a Slurm" if os.geteuid() else ""


@contextlib.contextmanager
def running_slurm(cpus: int = 4):
    """Bring up a cluster, and take it down; all of it lives in a folder but the link to its configuration.

    Parameters
    ----------
    cpus : int, optional
        That each node says to have.

    Yields
    ------
    Path
        The folder. In its file finished.txt Slurm writes a line for each job that has finished.

    Raises
    ------
    RuntimeError
        If a daemon does not come up, or `why_not` tells why none would.
    """
    if reason := why_not():
        raise RuntimeError(reason)
    with contextlib.ExitStack() as stack:
        # No part of it may be writable by others, but it must be open to them: munge insists.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="quadrat-slurm-")))
        folder.chmod(0o755)
        _write_configuration(folder, cpus)
        CONFIGURATION.parent.mkdir(exist_ok=True)
        CONFIGURATION.unlink(missing_ok=True)  # a link that an earlier cluster left
        CONFIGURATION.symlink_to(folder / "slurm.conf")
        stack.callback(CONFIGURATION.unlink)
        munge = [f"--key-file={folder}/munge.key", f"--socket={folder}/munge.socket"]
        munge += [f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log"]
        munge += [f"--seed-file={folder}/munged.seed"]
        _start(stack, folder, "munged", "--foreground", *munge)
        _wait_until(folder, "munged", lambda: (folder / "munge.socket").exists())
        _start(stack, folder, "slurmctld", "-D")
        _wait_until(folder, "slurmctld", lambda: "UP" in _said("scontrol", "ping"))
        for number in range(1, len(NODE_PORTS) + 1):
            _start(stack, folder, "slurmd", "-D", "-N", f"n{number}")
        ready = ["sinfo", "--noheader", "--Node", "--states=idle"]
        _wait_until(folder, "slurmd", lambda: len(_said(*ready).splitlines()) == len(NODE_PORTS))
        stack.callback(_cancel_all)
        yield folder


class Job(NamedTuple):
    """A job that Slurm knows, as squeue tells it."""

    number: str
    state: str
    cpus: str
    memory: str
    minutes: str
    comment: str
    folder: str


def jobs() -> list[Job]:
    """List the jobs that Slurm knows, finished ones too, in the order of their submission."""
    lines = _said("squeue", "--states=all", "--noheader", "--format=%i|%T|%C|%m|%l|%k|%Z")
    return sorted((Job(*line.split("|", 6)) for line in lines.splitlines()), key=lambda job: int(job.number))


def _write_configuration(folder: Path, cpus: int) -> None:
    for name in ("state", *(f"spool-n{number}" for number in range(1, len(NODE_PORTS) + 1))):
        (folder / name).mkdir(parents=True)
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(1024))
    host = socket.gethostname().split(".")[0]
    nodes = "\n".join(
        NODE.format(number=number, host=host, port=port, cpus=cpus)
        for number, port in enumerate(NODE_PORTS, 1)
    )
    text = TEMPLATE.format(folder=folder, host=host, nodes=nodes, controller_port=CONTROLLER_PORT)
    (folder / "slurm.conf").write_text(text)


def _start(stack: contextlib.ExitStack, folder: Path, program: str, *arguments: str) -> None:
    """Start a daemon as a child of this process, which is ended with the stack."""
    with (folder / f"{program}.log").open("ab") as log:
        daemon = subprocess.Popen([program, *arguments], stdout=log, stderr=log, start_new_session=True)
    stack.callback(_stop, daemon)


def _stop(daemon: subprocess.Popen) -> None:
    daemon.terminate()
    try:
        daemon.wait(10)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _wait_until(folder: Path, program: str, is_up) -> None:
    ends = time.monotonic() + SECONDS_TO_START
    while not is_up():
        if time.monotonic() > ends:
            log = (folder / f"{program}.log").read_text()
            raise RuntimeError(f"{program}: not up after {SECONDS_TO_START} s\n{log}")
        time.sleep(0.1)


def _cancel_all() -> None:
    """End all jobs and wait for their processes: nodes that go down leave them running."""
    subprocess.run(["scancel", "--user=root"], check=False)
    ends = time.monotonic() + SECONDS_TO_START
    while _said("squeue", "--noheader") and time.monotonic() < ends:
        time.sleep(0.1)


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
