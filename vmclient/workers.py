"""The pool of worker processes behind ReaderDaemon and Runner: who gets the next job, when to start, kill, retire one.

Owned by one thread, which sits in `wait`. A job always ends in exactly one Ended, whatever its plugin does to the process. A
process that even SIGKILL does not end (state D: dead NFS, broken disk) is abandoned; its key gets the answer `hanging` until
the process is gone.
"""

from __future__ import annotations

import os
import selectors
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from vmclient.frames import Done, FrameFault, FromWorker, Importing, Job, Log, Progress, Ready, Setup
from vmclient.hearing import size_of
from vmclient.outcomes import Catalogue, Ended, Limits, Outcome, Progressed, Said
from vmclient.process import OUTPUT_BYTES_MAX, KillGroup, Process, state_of

LINES_MAX = 1_000  # logged by one job; a worker itself lets through far less, so it is not itself any more
Clock = Callable[[], float]


@dataclass(slots=True)
class _Worker:
    process: Process
    state: Literal["starting", "idle", "busy", "leaving", "killed"]
    since: float
    deadline: float
    module: str = ""  # being imported
    key: str = ""
    job: Job | None = None
    why: str = ""  # it was killed
    kind: Literal["error", "timeout"] = "error"
    jobs: int = 0
    lines: int = 0  # logged by the job at hand
    steps: int = 0  # of its progress
    progress: Progress | None = None  # the newest, not handed on yet
    ready: bool = False  # has imported everything
    old: bool = False  # of an earlier configuration: no more jobs


@dataclass(slots=True)
class _Queued:
    key: str
    job: Job
    since: float


@dataclass(slots=True)
class Pool:
    """See the module. `setup` is what each new worker gets."""

    name: str
    setup: Setup
    limits: Limits = field(default_factory=Limits)
    clock: Clock = time.monotonic
    kill_group: KillGroup = os.killpg
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _workers: list[_Worker] = field(default_factory=list)
    _hanging: dict[str, tuple[Process, float]] = field(default_factory=dict)
    _queue: deque[_Queued] = field(default_factory=deque)
    _outcomes: list[Outcome] = field(default_factory=list)
    _excluded: dict[str, str] = field(default_factory=dict)
    _told: bool = False
    _failures: int = 0
    _not_before: float = 0.0
    _ids: int = 0

    def watch(self, file: int) -> None:
        """`wait` returns when this becomes readable (the owner's mailbox)."""
        self._selector.register(file, selectors.EVENT_READ, None)

    def start(self) -> None:
        """Starts the first worker, so that the catalogue comes."""
        if not self._workers:
            self._start_worker(self.clock())

    def reconfigure(self, setup: Setup, *, start: bool = True) -> None:
        """Another configuration from now on: idle workers go, busy ones finish their job first."""
        self.setup, self._excluded, self._told = setup, {}, False
        self._failures, self._not_before = 0, 0.0
        for worker in list(self._workers):
            worker.old = True
            if worker.state in ("idle", "starting"):
                self._dismiss(worker)
        if start:
            self._start_worker(self.clock())

    def submit(self, key: str, job: Job) -> None:
        """`job.id` is set here. At most one job of a key at a time is the caller's promise."""
        now = self.clock()
        self._reap_hanging()
        if key in self._hanging:
            process, since = self._hanging[key]
            self._outcomes.append(Ended(key, "error", reason=_hanging_text(process, now - since), started_mono=now))
        elif len(self._queue) >= self.limits.queue_max or len(self._hanging) >= self.limits.hanging_max:
            why = "too many jobs wait" if len(self._queue) >= self.limits.queue_max else f"{len(self._hanging)} processes hang"
            self._outcomes.append(Ended(key, "error", reason=f"not started: {why}", started_mono=now))
        else:
            self._ids += 1
            self._queue.append(_Queued(key, replace(job, id=self._ids), now))

    def abort(self, key: str, why: str) -> None:
        """The job of this key ends now, with all it started; it has its Ended as every job."""
        for queued in [queued for queued in self._queue if queued.key == key]:
            self._queue.remove(queued)
            self._outcomes.append(Ended(key, "error", reason=why, started_mono=self.clock()))
        for worker in [worker for worker in self._workers if worker.key == key and worker.job is not None]:
            self._kill(worker, why)

    def wait(self, timeout_s: float | None) -> list[Outcome]:
        """Blocks until something happened, at most `timeout_s`; what has ended since."""
        self._dispatch(self.clock())
        for ready, events in self._selector.select(self._patience(timeout_s)):
            if ready.data is not None:
                self._attend(ready.data[0], ready.data[1], events)
        now = self.clock()
        self._check_deadlines(now)
        self._dispatch(now)
        outcomes, self._outcomes = self._outcomes, []
        return self._progress() + outcomes

    @property
    def busy(self) -> int:
        """Jobs that are running or waiting."""
        return len(self._queue) + sum(1 for worker in self._workers if worker.job is not None)

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(worker.process.pid for worker in self._workers)

    def close(self) -> None:
        """Kills what runs. Jobs not ended get no Ended."""
        for worker in list(self._workers):
            if worker.state in ("busy", "starting"):
                worker.process.kill()
            self._forget(worker)
        for process, _ in self._hanging.values():
            process.hang_up()
        self._selector.close()

    def _progress(self) -> list[Outcome]:
        """Of each job that still runs only the newest: one that floods costs no more than one that tells little."""
        told: list[Outcome] = []
        for worker in self._workers:
            if worker.progress is not None and worker.job is not None:
                told.append(Progressed(worker.key, worker.progress.text, worker.progress.share))
            worker.progress = None
        return told

    # --- one worker's life ------------------------------------------------------------------------------------------------

    def _start_worker(self, now: float) -> bool:
        try:
            process = Process(self.environment, self.kill_group)
        except OSError as fault:
            self._start_failed(f"no {self.name} process can be started: {fault.strerror}", now)
            return False
        worker = _Worker(process, "starting", now, now + self.limits.import_s)
        self._workers.append(worker)
        for role, file in process.files().items():
            self._selector.register(file, selectors.EVENT_READ, (worker, role))
        process.say(replace(self.setup, excluded=dict(self._excluded)))
        self._want_push(worker)
        return True

    def _start_failed(self, why: str, now: float) -> None:
        self._failures += 1
        self._not_before = now + min(60.0, 2.0**self._failures)
        self._outcomes.append(Said(why, "error"))
        while self._queue:
            queued = self._queue.popleft()
            self._outcomes.append(Ended(queued.key, "error", reason=why, started_mono=queued.since))

    def _dispatch(self, now: float) -> None:
        idle = [worker for worker in self._workers if worker.state == "idle"]
        while self._queue and idle:
            self._begin(idle.pop(0), self._queue.popleft(), now)
        if not self._queue or now < self._not_before:
            return
        live = [worker for worker in self._workers if not worker.old]
        if any(worker.state == "starting" for worker in live) or len(self._workers) >= self.limits.most:
            return
        if now >= self._grow_at():
            self._start_worker(now)

    def _grow_at(self) -> float:
        """When a waiting job gets a new worker: at once where none works, else when all have been at it for long."""
        busy = [worker.since for worker in self._workers if worker.state == "busy" and not worker.old]
        return max(busy) + self.limits.grow_after_s if busy else self._not_before

    def _begin(self, worker: _Worker, queued: _Queued, now: float) -> None:
        worker.state, worker.key, worker.job = "busy", queued.key, queued.job
        worker.since, worker.deadline = now, now + queued.job.timeout_s
        worker.jobs += 1
        worker.lines = worker.steps = 0
        worker.progress = None
        worker.process.begin_job()
        try:
            worker.process.say(queued.job)
        except (FrameFault, TypeError, ValueError, OverflowError, RecursionError) as fault:
            self._end(worker, Ended(queued.key, "refused", reason=f"its parameters cannot be passed on: {fault}"), now)
        self._want_push(worker)

    def _attend(self, worker: _Worker, role: str, events: int) -> None:
        if worker.process.closed:  # an earlier event of the same round ended it
            return
        if role == "output":
            if not worker.process.collect():
                self._selector.unregister(worker.process.files()["output"])
            elif worker.process.printed_bytes > OUTPUT_BYTES_MAX:
                self._kill(worker, f"it printed more than {OUTPUT_BYTES_MAX} bytes")
        elif role == "end":
            self._has_ended(worker)
        elif events & selectors.EVENT_WRITE:
            worker.process.push()
            self._want_push(worker)
        else:
            self._listen(worker)

    def _listen(self, worker: _Worker) -> None:
        try:
            said, closed = worker.process.hear()
            for what in said:
                self._heard(worker, what)
        except FrameFault as fault:
            self._kill(worker, f"it wrote {fault} where its answers go")
            return
        if closed:
            self._selector.unregister(worker.process.files()["channel"])
            if worker.state == "idle" or (worker.state not in ("leaving", "killed") and not worker.process.has_pidfd):
                self._kill(worker, "it ended or closed its connection")

    def _heard(self, worker: _Worker, what: FromWorker) -> None:
        now = self.clock()
        if isinstance(what, Log):
            worker.lines += 1
            if worker.lines > LINES_MAX:
                self._kill(worker, f"it logged more than {LINES_MAX} lines")
                return
            level = what.level if what.level in ("debug", "info", "warning", "error") else "info"
            self._outcomes.append(Said(f"{worker.job.plugin if worker.job else 'plugin'}: {what.text}", level))
        elif isinstance(what, Progress) and worker.state == "busy":
            worker.steps, worker.progress = worker.steps + 1, what
            if worker.steps > self.limits.steps_max:
                self._kill(worker, f"it told its progress more than {self.limits.steps_max} times")
        elif isinstance(what, Importing) and worker.state == "starting":
            worker.module, worker.deadline = what.module, now + self.limits.import_s
        elif isinstance(what, Ready) and worker.state == "starting":
            self._failures, worker.module, worker.ready = 0, "", True
            self._rest(worker, now)
            if not self._told:
                self._told = True
                self._outcomes.append(Catalogue(what))
        elif isinstance(what, Done) and worker.state == "busy" and worker.job is not None and what.id == worker.job.id:
            if size_of(what) > worker.job.bytes_max:
                self._kill(worker, f"it answered with more than {worker.job.bytes_max} bytes")
                return
            output = "\n".join(text for text in (what.output, worker.process.printed()) if text)
            ended = Ended(worker.key, what.kind, what.value, what.reason, output, what.unit, worker.since, what.elapsed_s)
            self._end(worker, ended, now, what.spoiled)

    def _end(self, worker: _Worker, ended: Ended, now: float, spoiled: str = "") -> None:
        if spoiled and not (self.limits.keep_strays and spoiled == "it left processes behind"):
            self._outcomes.append(Said(f"{ended.key}: its worker process is replaced: {spoiled}", "warning"))
            worker.key, worker.job = "", None
            self._kill(worker, spoiled)
        else:
            self._rest(worker, now)
        self._outcomes.append(ended)

    def _rest(self, worker: _Worker, now: float) -> None:
        worker.state, worker.key, worker.job, worker.since = "idle", "", None, now
        worker.deadline = now + self.limits.idle_s
        if worker.old or worker.jobs >= self.limits.jobs_max:
            self._dismiss(worker)

    def _dismiss(self, worker: _Worker) -> None:
        """Not needed any more. Where commands may leave processes behind, only the worker itself is asked to go."""
        if worker.state == "starting" or not self.limits.keep_strays:
            self._kill(worker, "retired")
            return
        worker.state, worker.deadline = "leaving", self.clock() + self.limits.kill_s
        worker.process.no_more()

    def _kill(self, worker: _Worker, why: str, kind: Literal["error", "timeout"] = "error") -> None:
        if worker.state == "killed":
            return
        worker.state, worker.why, worker.kind = "killed", why, kind
        worker.deadline = self.clock() + self.limits.kill_s
        worker.process.kill()

    def _has_ended(self, worker: _Worker) -> None:
        """Its pidfd says so: hear its last words, then end what is left of its group before its number is free again."""
        while worker.state != "killed":
            try:
                said, closed = worker.process.hear()
            except FrameFault:
                break
            for what in said:
                self._heard(worker, what)
            if closed or not said:
                break
        if worker.state != "leaving":
            worker.process.kill()
        how = worker.process.ended() or "ended"
        self._report(worker, worker.why or f"its process {how}")
        self._forget(worker)
        self._replace_unready(worker, worker.why or f"the process that imported it {how}")

    def _replace_unready(self, worker: _Worker, why: str) -> None:
        """Blames the module that was being imported; the next worker goes without it."""
        if worker.ready or worker.old:
            return
        if worker.module:
            self._excluded[worker.module] = why
            self._outcomes.append(Said(f"plugin module {worker.module} is not used: {why}", "error"))
            self._start_worker(self.clock())
        else:
            self._start_failed(f"a {self.name} process could not start: {why}", self.clock())

    def _report(self, worker: _Worker, reason: str) -> None:
        if worker.job is not None:
            output = worker.process.printed()
            elapsed_s = self.clock() - worker.since
            self._outcomes.append(Ended(worker.key, worker.kind, None, reason, output, "", worker.since, elapsed_s))
            worker.key, worker.job = "", None

    def _check_deadlines(self, now: float) -> None:
        for worker in [worker for worker in self._workers if now >= worker.deadline]:
            if worker.state == "busy" and worker.job is not None:
                self._kill(worker, f"no end within {worker.job.timeout_s:g} s", "timeout")
            elif worker.state == "starting":
                self._kill(worker, f"its import did not end within {self.limits.import_s:g} s")
            elif worker.state == "leaving":
                self._kill(worker, "retired")
            elif worker.state == "killed":
                self._abandon(worker, now)
            elif sum(1 for other in self._workers if other.state == "idle" and not other.old) > self.limits.warm:
                self._dismiss(worker)
            else:
                worker.deadline = float("inf")
        self._reap_without_pidfd()

    def _abandon(self, worker: _Worker, now: float) -> None:
        key = worker.key
        self._report(worker, f"{worker.why}; {_hanging_text(worker.process, now - worker.since)}")
        self._forget(worker, hang_up=False)
        self._hanging[key or f"process {worker.process.pid}"] = (worker.process, worker.since)
        self._replace_unready(worker, worker.why)

    def _reap_hanging(self) -> None:
        for key, (process, _) in list(self._hanging.items()):
            if process.ended() is not None:
                process.hang_up()
                del self._hanging[key]
                self._outcomes.append(Said(f"{key}: the hanging process {process.pid} is gone"))

    def _reap_without_pidfd(self) -> None:
        for worker in list(self._workers):
            if worker.state in ("killed", "leaving") and not worker.process.has_pidfd and worker.process.ended() is not None:
                self._has_ended(worker)

    def _forget(self, worker: _Worker, hang_up: bool = True) -> None:
        for file in worker.process.files().values():
            if file in self._selector.get_map():
                self._selector.unregister(file)
        if hang_up:
            worker.process.hang_up()
        self._workers.remove(worker)

    def _want_push(self, worker: _Worker) -> None:
        if worker.process.closed:
            return
        channel = worker.process.files()["channel"]
        if channel in self._selector.get_map():
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.process.has_unsent else 0)
            self._selector.modify(channel, wanted, (worker, "channel"))

    def _patience(self, timeout_s: float | None) -> float | None:
        if self._outcomes:
            return 0.0
        times = [worker.deadline for worker in self._workers if worker.deadline != float("inf")]
        if self._queue and len(self._workers) < self.limits.most:
            times.append(max(self._grow_at(), self._not_before))
        if any(worker.state in ("killed", "leaving") and not worker.process.has_pidfd for worker in self._workers):
            times.append(self.clock() + 0.05)  # an old kernel without pidfd: look again
        until = [max(0.0, at - self.clock()) for at in times] + ([timeout_s] if timeout_s is not None else [])
        return min(until, default=None)


def _hanging_text(process: Process, for_s: float) -> str:
    state = state_of(process.pid) or "?"
    return f"hanging for {for_s:.0f} s: process {process.pid} does not die (state {state})"
