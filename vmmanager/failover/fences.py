"""Power fencing under way: which host, which device, who waits for the end. Pure; fencing.py has the levels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmmanager.events import FenceEnded, RunFence
from vmmanager.failover.fencing import Run, levels
from vmmanager.failover.hosts import PROVED

if TYPE_CHECKING:
    from vmmanager.failover.hosts import Host
    from vmmanager.failover.watch import Watch


class Fences:
    def __init__(self, watch: Watch) -> None:
        self._w = watch
        self.runs: dict[str, Run] = {}  # by host
        self.last: dict[str, list[str]] = {}  # host -> what came of the last attempt

    def begin(self, host: Host, by: str, call: int = 0) -> bool:
        """Is a device at work now? Not so where there is none for this host, or all failed a moment ago."""
        devices = levels(host.name, self._w.context.config.fences)
        if not devices or (by == "vmherd" and self._w.now < host.fence_at):
            return False
        run = Run(host.name, self._w.context.next_id(), by, self._w.now, devices, calls=[call] if call else [])
        self.runs[host.name] = run
        if host.state not in PROVED:
            self._w.move(host, "fencing", f"{', '.join(device.name for device in devices)}, asked by {by}")
        self._run(run)
        return True

    def _run(self, run: Run) -> None:
        step = run.step
        self._w.context.out.append(RunFence(run.host, run.number, step.device, step.action))

    def ended(self, event: FenceEnded) -> None:
        run = self.runs.get(event.host)
        host = self._w.hosts.get(event.host)
        if run is None or host is None or run.number != event.number:
            return
        outcome = run.ended(event.status, event.text)
        self._w.say(
            host.name, f"host {host.name}: fence device {run.said[-1]}", "info" if outcome == "off" else "warning", run.by
        )
        self.last[host.name] = list(run.said)
        if not outcome:
            self._run(run)
            return
        del self.runs[event.host]
        if outcome == "off":
            self._w.dead_by(host, "fence", f"power is off: {run.said[-1]}")
        elif host.state == "fencing":
            host.fence_at = self._w.now + self._w.context.config.failover.fence_retry_s
            self._w.move(host, "silent", f"all fence devices failed: {'; '.join(run.said)}")
        for call in run.calls:
            self._w.context.reply(call, {"host": host.name, "off": outcome == "off", "said": list(run.said)})

    def drop(self) -> None:
        """We lead no longer; what an agent does now, the next leader finds done."""
        self.runs.clear()
