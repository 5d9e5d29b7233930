"""One operation on one VM, from the wish to its end; at most one for a VM, limits on each host and in all. Pure.

A task begins as a wish (queued). When its turn comes a host is chosen for it, the order is noted on disk and told to the
standbys (noting), then sent; the answer, or the lack of one, ends it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from common.protocol import Value
from vmmanager.vms.records import Op, Order

TASKS_MAX = 20_000


class Phase(Enum):
    QUEUED = "queued"
    NOTING = "noting"  # the order is being written and told
    SENT = "running"
    ENDED = "ended"


MOVES: dict[Phase, tuple[Phase, ...]] = {
    Phase.QUEUED: (Phase.NOTING, Phase.ENDED),
    Phase.NOTING: (Phase.SENT, Phase.ENDED),
    Phase.SENT: (Phase.ENDED,),
    Phase.ENDED: (),
}
COMMANDS: dict[Op, str] = {
    "start": "vm-start", "stop": "vm-stop", "destroy": "vm-destroy", "reboot": "vm-reboot", "pause": "vm-pause",
    "unpause": "vm-unpause", "save": "vm-save", "restore": "vm-restore", "migrate": "vm-migrate", "memory": "vm-memory",
}  # fmt: skip
PREFIX = "vm-"
"""Commands that only this part of the manager may order: anything else would pass by its safety."""

ARRIVES = frozenset({"start", "restore"})
"""After these a host has a VM that it did not have; `migrate` brings it to the target."""


@dataclass(slots=True)
class Task:
    """`only`: the host the operator named. `host`, `target`: chosen when its turn comes. `automatic`: nobody asked for it now.
    `evacuates`: the host that is being emptied by it, or filled again. `resumed`: ordered by an earlier leader. `rescues`: its
    host died with it."""

    vm: str
    op: Op
    by: str
    since: float  # wall clock
    number: int = 0  # in order of the wishes
    priority: int = 0
    only: str = ""
    host: str = ""
    target: str = ""
    limit_s: float = 60.0
    parameters: dict[str, Value] = field(default_factory=dict)
    memory_bytes: int = 0  # that the VM takes on the host where it arrives
    automatic: bool = False
    evacuates: str = ""
    resumed: bool = False
    rescues: bool = False  # its host is dead
    noted_at: float = 0.0  # wall clock, as it stands among the attempts
    phase: Phase = Phase.QUEUED
    id: str = ""  # execution id, from noting on
    request: int = 0  # key of the one that it was sent by last
    text: str = "waits for its turn"
    share: float | None = None

    def move(self, phase: Phase) -> None:
        assert phase in MOVES[self.phase], f"{self.vm}: {self.phase} -> {phase}"
        self.phase = phase

    @property
    def active(self) -> bool:
        return self.phase in (Phase.NOTING, Phase.SENT)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Those that it keeps busy."""
        return tuple(host for host in (self.host, self.target) if host)

    @property
    def arrives_at(self) -> str:
        if self.op == "migrate":
            return self.target
        return self.host if self.op in ARRIVES else ""

    def order(self) -> Order:
        return Order(self.id, self.op, self.host, self.target, self.by, self.since, self.limit_s, self.parameters)


class Tasks:
    """All open tasks, by VM."""

    def __init__(self) -> None:
        self.by_vm: dict[str, Task] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self.by_vm)

    def add(self, task: Task) -> Task:
        assert task.vm not in self.by_vm, f"{task.vm} has a task already"
        self._number += 1
        task.number = self._number
        self.by_vm[task.vm] = task
        return task

    def end(self, task: Task) -> None:
        task.move(Phase.ENDED)
        if self.by_vm.get(task.vm) is task:
            del self.by_vm[task.vm]

    def by_id(self, id: str) -> Task | None:
        return next((task for task in self.by_vm.values() if task.id == id), None) if id else None

    def queued(self) -> list[Task]:
        """In the order of their turns: the more important VM first, else who came first."""
        waiting = [task for task in self.by_vm.values() if task.phase is Phase.QUEUED]
        return sorted(waiting, key=lambda task: (-task.priority, task.number))

    def active(self) -> Iterator[Task]:
        return (task for task in self.by_vm.values() if task.active)

    def busy(self) -> Counter[str]:
        """Orders under way on each host."""
        return Counter(host for task in self.active() for host in task.hosts)

    def migrations(self) -> Counter[str]:
        """Migrations under way from or to each host."""
        return Counter(host for task in self.active() if task.op == "migrate" for host in task.hosts)

    def clear(self) -> None:
        self.by_vm.clear()
