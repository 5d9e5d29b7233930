"""A farm of slots under one policy on a pretend clock: jobs in, when each began out. The manager's own cores decide.

Jobs of an environment start in the order they came, each on one place of a slot that serves it. The manager looks each
`tick_s`: it sees which drained slots are empty, counts, asks the policy and moves slots. Knows no file and no real time.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sim.swf import Job
from vmmanager.environments.demand import Demand, Policy, Settings, Supply
from vmmanager.environments.slots import Seen, Slot, State
from vmmanager.environments.switching import moves, supplies

STOP_SHARE, START_SHARE = 0.1, 0.7  # of `switch_s`; joining takes the rest
RUNTIME_MEMORY = 0.05  # weight of the last job in the mean runtime
DECISIONS_MAX = 1_000_000

_END, _NEWS = 0, 1


class Starved(Exception):
    """Jobs wait for ever: the policy gives their environment no slot."""


class Mix(NamedTuple):
    at_s: float
    serving: tuple[int, ...]  # slots, by environment
    waiting: tuple[int, ...]  # jobs


@dataclass(slots=True)
class Run:
    """What came of it. `began_s` and `slot` by the job's place in the trace."""

    began_s: list[float]
    slot: list[int]
    end_s: float = 0.0
    switches: int = 0
    taken_back: int = 0
    killed: int = 0
    drain_lost_s: float = 0.0  # slot-seconds without a job on places of draining slots
    boot_lost_s: float = 0.0  # slot-seconds of stopping, starting, joining
    mix: list[Mix] = field(default_factory=list)


class Farm:
    """One run. `initial` says how many slots each environment has at the start."""

    def __init__(self, jobs: Sequence[Job], names: Sequence[str], initial: Sequence[int], policy: Policy, settings: Settings,
                 tick_s: float) -> None:  # fmt: skip
        self.jobs, self.names, self.policy, self.settings, self.tick_s = jobs, list(names), policy, settings, tick_s
        homes = [number for number, slots in enumerate(initial) for _ in range(slots)]
        self.slots = [Slot(f"{index:05}", self.names[home], 0.0) for index, home in enumerate(homes)]
        self.number = {name: number for number, name in enumerate(self.names)}
        self.index = {slot.name: index for index, slot in enumerate(self.slots)}
        self.places = [settings.quotas[name].jobs_per_slot for name in self.names]
        self.busy = dict.fromkeys(self.index, 0)  # jobs on each slot
        self.queues: list[deque[int]] = [deque() for _ in names]
        self.free: list[dict[int, None]] = [{} for _ in names]  # serving slots with a free place, the last used one last
        for index, home in enumerate(homes):
            self.free[home][index] = None
        self.running = [0] * len(names)
        self.runtime_s: list[float | None] = [None] * len(names)
        self.events: list[tuple[float, int, int, int]] = []  # when, what, slot, job or turn
        self.empty: set[int] = set()  # draining slots whose last job has ended; the manager sees it at its next look
        self.drained_at = [0.0] * len(self.slots)  # since when its idle places count as lost
        self.run = Run([-1.0] * len(jobs), [-1] * len(jobs))

    def simulate(self) -> Run:
        """Raises Starved."""
        arrivals, events, jobs, queues = self.jobs, self.events, self.jobs, self.queues
        coming, count, tick_at, left = 0, len(jobs), 0.0, len(jobs)
        self._note(0.0)
        while left:
            at_s = arrivals[coming].submit_s if coming < count else float("inf")
            arrival = True
            if events and events[0][0] <= at_s:
                at_s, arrival = events[0][0], False
            if tick_at <= at_s:
                if self._tick(tick_at):
                    if at_s == float("inf"):
                        raise Starved(f"{self.policy.name}: {left} jobs wait for ever; at the last look: {self.run.mix[-1]}")
                    tick_at = max(tick_at + self.tick_s, -(-at_s // self.tick_s) * self.tick_s)  # nothing to see before
                else:
                    tick_at += self.tick_s
                continue
            if arrival:
                home = arrivals[coming].environment
                queues[home].append(coming)
                coming += 1
                self._fill(home, at_s)
                continue
            _, what, index, detail = heapq.heappop(events)
            if what == _END:
                left -= 1
                self._ended(index, detail, at_s)
            else:
                self._news(index, detail, at_s)
        self._close(at_s)
        return self.run

    def _fill(self, home: int, now: float) -> None:
        """Jobs begin as long as there are places for them."""
        queue, free = self.queues[home], self.free[home]
        while queue and free:
            index, job = next(reversed(free)), queue.popleft()
            name = self.slots[index].name
            self.busy[name] += 1
            if self.busy[name] == self.places[home]:
                del free[index]
            self.running[home] += 1
            self.run.began_s[job], self.run.slot[job] = now, index
            heapq.heappush(self.events, (now + self.jobs[job].run_s, _END, index, job))

    def _ended(self, index: int, job: int, now: float) -> None:
        slot, home, run_s = self.slots[index], self.jobs[job].environment, self.jobs[job].run_s
        if slot.state is State.DRAINING:
            self._count_drain(index, now)
        self.busy[slot.name] -= 1
        self.running[home] -= 1
        mean = self.runtime_s[home]
        self.runtime_s[home] = run_s if mean is None else mean + RUNTIME_MEMORY * (run_s - mean)
        if slot.state is State.SERVING:
            self.free[home][index] = None
            self._fill(home, now)
        elif not self.busy[slot.name]:
            self.empty.add(index)

    def _tick(self, now: float) -> bool:
        """The manager looks. True where it need not look again before something happens."""
        for index in sorted(self.empty):
            if self.slots[index].state is State.DRAINING:
                self._count_drain(index, now)
                self._see(index, Seen.EMPTY, now)
        self.empty.clear()
        supply = supplies(self.slots, self.busy, self.names, now, self.settings.hold_s)
        wanted = self.policy.wanted(self._demand(), supply, self.settings).wanted
        chosen = moves(self.slots, self.busy, supply, wanted, now, self.settings)
        for move in chosen:
            self._move(self.index[move.slot.name], move.target, now)
        if chosen:
            self._note(now)
        return not chosen and not any(has.held for has in supply.values()) and _agree(supply, wanted)

    def _demand(self) -> dict[str, Demand]:
        return {
            name: Demand(len(self.queues[home]), self.running[home], self.runtime_s[home]) for name, home in self.number.items()
        }

    def _move(self, index: int, target: str, now: float) -> None:
        slot = self.slots[index]
        home = self.number[slot.environment]
        changed = slot.move(target, now)
        if changed and changed[1] is State.DRAINING:
            self.drained_at[index] = now
            self.free[home].pop(index, None)
            if not self.busy[slot.name]:
                self._see(index, Seen.EMPTY, now)
        elif changed:  # taken back
            self._count_drain(index, now)
            self.run.taken_back += 1
            if self.busy[slot.name] < self.places[home]:
                self.free[home][index] = None
            self._fill(home, now)

    def _see(self, index: int, seen: Seen, now: float) -> None:
        slot = self.slots[index]
        slot.see(seen, slot.turn, now)
        if slot.state is State.STOPPING:
            self.run.switches += 1
            self.run.killed += self.busy[slot.name]
            self._later(index, now, STOP_SHARE)
        elif slot.state is State.STARTING:
            self._later(index, now, START_SHARE)
        elif slot.state is State.JOINING:
            self._later(index, now, 1 - STOP_SHARE - START_SHARE)
        elif slot.state is State.SERVING:
            self.run.boot_lost_s += self.settings.switch_s
            self.free[self.number[slot.environment]][index] = None
            self._fill(self.number[slot.environment], now)
            self._note(now)

    def _later(self, index: int, now: float, share: float) -> None:
        heapq.heappush(self.events, (now + share * self.settings.switch_s, _NEWS, index, self.slots[index].turn))

    def _news(self, index: int, turn: int, now: float) -> None:
        following = {State.STOPPING: Seen.STOPPED, State.STARTING: Seen.STARTED, State.JOINING: Seen.JOINED}
        if self.slots[index].turn == turn:
            self._see(index, following[self.slots[index].state], now)

    def _count_drain(self, index: int, now: float) -> None:
        slot = self.slots[index]
        places = self.places[self.number[slot.environment]]
        self.run.drain_lost_s += (now - self.drained_at[index]) * (places - self.busy[slot.name]) / places
        self.drained_at[index] = now

    def _note(self, now: float) -> None:
        serving = [0] * len(self.names)
        for slot in self.slots:
            if slot.state is State.SERVING or slot.state is State.DRAINING:
                serving[self.number[slot.environment]] += 1
        self.run.mix.append(Mix(now, tuple(serving), tuple(len(queue) for queue in self.queues)))

    def _close(self, now: float) -> None:
        """The last job has ended: what is under way is counted up to here."""
        self.run.end_s = now
        for index, slot in enumerate(self.slots):
            if slot.state is State.DRAINING:
                self._count_drain(index, now)
        self._note(now)


def _agree(supply: dict[str, Supply], wanted: dict[str, int]) -> bool:
    return all(has.slots == wanted[name] and has.serving == has.slots for name, has in supply.items())
