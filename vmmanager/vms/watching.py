"""Who waits for what: the calls of vmctl that follow tasks of VMs, piece by piece, to their summary. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vmmanager.context import Context, Refused
from vmmanager.vms.tasks import Task


@dataclass(slots=True)
class Watch:
    """One vmctl. `extra` goes into its summary."""

    call: int
    waiting: set[str]
    started: float
    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)


class Watchers:
    def __init__(self, context: Context) -> None:
        self._c = context
        self._calls: dict[int, Watch] = {}
        self._by_vm: dict[str, set[int]] = {}

    def watch(self, call: int, names: list[str], extra: dict[str, Any] | None = None) -> None:
        """From now on until each of them has ended."""
        self._calls[call] = Watch(call, set(names), self._c.now.mono, extra=extra or {})
        for name in names:
            self._by_vm.setdefault(name, set()).add(call)
        self._maybe_over(self._calls[call])

    def tell(self, task: Task, state: str = "") -> None:
        """How far it is."""
        for call in sorted(self._by_vm.get(task.vm, ())):
            self._c.more(call, self._piece(task, state or task.phase.value))

    def ended(self, vm: str, error: str, *, task: Task | None = None, text: str = "", call: int = 0) -> None:
        """It is over: well where `error` is empty. `call`: for this one alone."""
        calls = self._by_vm.get(vm, set())
        for each in sorted({call} & calls if call else calls):
            self._by_vm[vm].discard(each)
            watch = self._calls[each]
            watch.waiting.discard(vm)
            if error:
                watch.failed[vm] = error
            else:
                watch.done.append(vm)
            piece = self._piece(task, "") if task else {"vm": vm, "share": None, "host": None, "target": None, "elapsed": 0.0}
            self._c.more(each, piece | {"state": "failed" if error else "done", "text": error or text or "done"})
            self._maybe_over(watch)

    def hung_up(self, call: int) -> None:
        watch = self._calls.pop(call, None)
        for name in watch.waiting if watch else ():
            self._by_vm.get(name, set()).discard(call)

    def drop(self, why: str) -> None:
        """We lead no longer."""
        calls, self._calls, self._by_vm = sorted(self._calls), {}, {}
        for call in calls:
            self._c.refuse(call, Refused("not-leader", why))

    def _piece(self, task: Task, state: str) -> dict[str, Any]:
        return {
            "vm": task.vm, "state": state, "text": task.text, "share": task.share, "host": task.host or None,
            "target": task.target or None, "elapsed": max(0.0, self._c.now.wall - task.since),
        }  # fmt: skip

    def _maybe_over(self, watch: Watch) -> None:
        if watch.waiting:
            return
        self._calls.pop(watch.call, None)
        summary = {"done": sorted(watch.done), "failed": dict(sorted(watch.failed.items()))}
        self._c.reply(watch.call, summary | watch.extra | {"elapsed": self._c.now.mono - watch.started})
