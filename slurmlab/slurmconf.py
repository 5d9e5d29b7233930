"""slurm.conf of the lab: one controller and many node daemons on loopback. Text out; starts nothing.

Debian builds Slurm with MULTIPLE_SLURMD, so each node is a slurmd with a port of its own. Nothing of it touches a Slurm or a
munge that this machine may have: own folder, own key, own ports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MESSAGE_S = 5  # how long the controller tries to reach a node; Slurm's own default is 10
SLURMD_TIMEOUT_S = 8  # after that a silent node is down; Slurm's own default is 300


@dataclass(frozen=True, slots=True)
class Layout:
    """`nodes`: name -> partition. `port`: of the controller; those of the nodes follow."""

    folder: Path
    host: str
    user: str
    port: int
    nodes: Mapping[str, str]
    cpus: int = 2

    @property
    def conf(self) -> Path:
        return self.folder / "slurm.conf"

    @property
    def socket(self) -> Path:
        return self.folder / "munge.socket"

    def pid_file(self, program: str) -> Path:
        return self.folder / "pid" / f"{program}.pid"

    @property
    def partitions(self) -> list[str]:
        return sorted(set(self.nodes.values()))

    def text(self) -> str:
        nodes = "".join(
            f"NodeName={name} NodeHostname={self.host} NodeAddr=127.0.0.1 Port={self.port + 1 + number} CPUs={self.cpus} "
            f"RealMemory=1000 Feature={partition} State=DOWN Reason=off\n"
            for number, (name, partition) in enumerate(self.nodes.items())
        )
        partitions = "".join(
            f"PartitionName={partition} Nodes={','.join(name for name, of in self.nodes.items() if of == partition)} "
            "MaxTime=INFINITE State=UP\n"
            for partition in self.partitions
        )
        return _HEAD.format(one=self, message_s=MESSAGE_S, slurmd_s=SLURMD_TIMEOUT_S) + nodes + partitions


# Cgroup plugins need a machine of their own; config_overrides lets a node pretend to have any number of processors.
_HEAD = """\
ClusterName=lab
SlurmctldHost={one.host}(127.0.0.1)
SlurmctldPort={one.port}
SlurmUser={one.user}
SlurmdUser={one.user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={one.socket}
StateSaveLocation={one.folder}/state
SlurmdSpoolDir={one.folder}/spool/%n
SlurmctldPidFile={one.folder}/pid/slurmctld.pid
SlurmdPidFile={one.folder}/pid/slurmd-%n.pid
SlurmctldLogFile={one.folder}/log/slurmctld.log
SlurmdLogFile={one.folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={one.folder}/log/jobcomp.log
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=20000
ReturnToService=2
SlurmdParameters=config_overrides
MessageTimeout={message_s}
SlurmdTimeout={slurmd_s}
InactiveLimit=0
KillWait=2
MinJobAge=3600
CompleteWait=0
TreeWidth=64
PropagateResourceLimits=NONE
MailProg=/bin/true
EnforcePartLimits=NO
"""
