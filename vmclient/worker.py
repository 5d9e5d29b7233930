"""The worker process: `python -m vmclient.worker CHANNEL LIFE`. Imports plugins, runs one job at a time, answers, dies alone.

It has one thread, its own session, and imports little: no keys, no bus, no configuration parser. Everything a plugin prints
goes to the pipe that is its stdout and stderr. The client kills it when a job takes too long; the kernel does when the client
is gone.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from common import program
from common.config.model import ProgramConfig
from common.parameters import ParameterFault
from common.plugin import CommandFailed, Measured, Refused, Site, Unknown
from common.program import live_no_longer_than
from common.value import Value, plain
from vmclient.frames import (
    TEXT_CHARS_MAX,
    Done,
    Frames,
    Importing,
    Job,
    Log,
    Progress,
    Ready,
    Setup,
    ToWorker,
    frame,
    told,
)
from vmclient.loader import Found, Loader, said

LOG_LINES_MAX = 100  # of one job
TEXT_MAX = 60_000  # of a reason or an output; the protocol takes 65,536
RECEIVE_BYTES = 65_536


class Worker:
    """Serves one client over `channel` until that ends."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._pid = os.getpid()
        self._found: dict[tuple[str, str], Found] = {}
        self._setup: Setup | None = None
        self._programs: dict[str, ProgramConfig] = {}
        self._deadline = 0.0
        self._lines_left = 0

    def serve(self) -> None:
        """Returns when the client closes its end."""
        frames = Frames()
        while data := self._channel.recv(RECEIVE_BYTES):
            for body in frames.feed(data):
                self._obey(told(body))

    def _obey(self, what: ToWorker) -> None:
        if isinstance(what, Setup):
            self._prepare(what)
        else:
            self._lines_left = LOG_LINES_MAX
            self._deadline = time.monotonic() + what.timeout_s
            self._say(self._work(what))

    def _prepare(self, setup: Setup) -> None:
        _limit(setup.data_bytes_max)
        self._setup = setup
        self._programs = {program.name: program for program in setup.programs}
        loader = Loader(lambda module: self._say(Importing(module)), setup.excluded)
        loader.load(setup.modules, setup.folder)
        self._found = loader.found
        self._stay_parent()
        gc.collect()
        gc.freeze()
        self._say(Ready(tuple(found.entry for found in loader.found.values()), loader.faults))

    def _work(self, job: Job) -> bytes:
        started = time.monotonic()
        done = self._run(job)
        self._stay_parent()
        flush()
        spoiled = done.spoiled or ("it left processes behind" if has_children() else "")
        done = replace(done, elapsed_s=time.monotonic() - started, spoiled=spoiled)
        try:
            return frame(done)
        except Exception as fault:  # noqa: BLE001 - a value that msgpack cannot carry
            return frame(Done(job.id, "error", reason=f"its value cannot be sent: {said(fault)}"[:TEXT_MAX], spoiled=spoiled))

    def _run(self, job: Job) -> Done:
        try:
            found = self._find(job.kind, job.plugin)
            arguments = found.signature.bind(job.positional, job.named, self._site())
            if job.check:
                return Done(job.id, "ok")
            given = found.function(**arguments)
            unit = given.unit if isinstance(given, Measured) else found.plugin.unit
            value = carried(given.value if isinstance(given, Measured) else given, job.bytes_max)
        except (Refused, ParameterFault) as fault:
            return Done(job.id, "refused", reason=str(fault)[:TEXT_MAX])
        except Unknown as fault:
            return Done(job.id, "error", reason=(str(fault) or "unknown")[:TEXT_MAX])
        except CommandFailed as fault:
            return self._failed(job, fault)
        except MemoryError:
            return Done(job.id, "error", reason=f"{job.kind} {job.plugin}: out of memory", spoiled="it ran out of memory")
        except BaseException as fault:  # noqa: BLE001 - whatever a plugin raises, SystemExit included, costs only its own job
            return Done(job.id, "error", reason=f"{job.kind} {job.plugin}: {said(fault)}"[:TEXT_MAX])
        return Done(job.id, "ok", value, unit=str(unit)[:255])

    @staticmethod
    def _failed(job: Job, fault: CommandFailed) -> Done:
        reason = (str(fault) or "failed")[:TEXT_MAX]
        try:
            return Done(job.id, "error", carried(fault.result, job.bytes_max), reason, str(fault.output)[:TEXT_MAX])
        except Exception as other:  # noqa: BLE001 - as above
            return Done(job.id, "error", None, f"{reason}; its result cannot be sent: {said(other)}"[:TEXT_MAX])

    def _find(self, kind: str, name: str) -> Found:
        found = self._found.get((kind, name))
        if found is None:
            known = ", ".join(sorted(other for of, other in self._found if of == kind))
            raise Refused(f"no {kind} {name}; there are: {known or 'none'}")
        return found

    def _site(self) -> Site:
        setup = self._setup
        if setup is None:
            raise Refused("the worker is not set up")
        return Site(
            client=setup.client,
            programs=self._programs,
            services=setup.services,
            hypervisor=setup.hypervisor,
            batch=setup.batch,
            log=self._log,
            remaining_s=lambda: max(0.0, self._deadline - time.monotonic()),
            progress=self._progress,
        )

    def _log(self, text: str, level: str = "info") -> None:
        if self._lines_left > 0 and os.getpid() == self._pid:
            self._lines_left -= 1
            self._say(Log(str(level), str(text)[:4096]))

    def _progress(self, text: str, share: float | None = None) -> None:
        if os.getpid() == self._pid:
            known = None if share is None else min(1.0, max(0.0, float(share)))
            said = str(text)[:TEXT_CHARS_MAX].encode(errors="replace").decode()
            self._say(Progress(said, known))

    def _stay_parent(self) -> None:
        """A plugin that forked and returned in both: the copy must not answer."""
        if os.getpid() != self._pid:
            os._exit(0)

    def _say(self, what: Done | Importing | Ready | Log | Progress | bytes) -> None:
        self._channel.sendall(what if isinstance(what, bytes) else frame(what))


def carried(value: object, bytes_max: int) -> Value:
    """The value as messages carry it. Raises ValueError: of a kind that they do not carry, or too large (as JSON)."""
    given = plain(value)
    size = len(json.dumps(given))
    if size > bytes_max:
        raise ValueError(f"a value of {size} bytes, the limit is {bytes_max}")
    return given


def has_children() -> bool:
    """Processes of ours are left, running or not."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # a plugin closed or replaced it
            continue


def _limit(data_bytes_max: int) -> None:
    """Soft limits only, so that a program may be given more again (common/program.py)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if data_bytes_max:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        wanted = data_bytes_max if hard == resource.RLIM_INFINITY else min(data_bytes_max, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def main(arguments: list[str] | None = None) -> int:
    """Entry of the process; the arguments are the numbers of the inherited socket and pipe."""
    given: list[str] = sys.argv[1:] if arguments is None else arguments
    if len(given) != 2 or not all(number.isdigit() for number in given):
        sys.stderr.write("vmclient.worker is started by vmclient\n")
        return 2
    os.set_inheritable(int(given[0]), False)
    os.set_inheritable(int(given[1]), False)
    if not live_no_longer_than(int(given[1]), os.getpid(), signal.SIGKILL):
        return 0
    program.lifeline = int(given[1])
    handlers: list[tuple[signal.Signals, Any]] = [(signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.SIG_IGN)]
    for number, handler in handlers:
        signal.signal(number, handler)
    with socket.socket(fileno=int(given[0])) as channel:
        serve: Callable[[], None] = Worker(channel).serve
        try:
            serve()
        except (BrokenPipeError, ConnectionResetError):
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
