"""The life of a daemon: detaching, pid file, signals, threads, readiness, end. Knows nothing of what the daemon does.

    def body(life: Life) -> int:
        life.on_reload(inbox_reload)
        life.thread("Listener", listen)       # its death by exception stops the daemon
        life.ready("serving 4803@127.0.0.1")
        life.wait()                           # or an own loop that looks at life.stopping and calls life.alive()
        return 0

    sys.exit(run(RunOptions("vmbus", foreground=False, pid_file=Path("/run/vmherd/vmbus.pid")), body))

Signals: TERM and INT drain and stop (the second one, or `drain_s` later, ends at once); HUP reloads. They are read by a thread
of their own from a wakeup socket, so they work while the main thread is busy; forked children get the defaults back.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

import daemon

from common import logs
from common.config.model import LogConfig
from common.pidfile import PidFile, PidFileFault
from common.sdnotify import Notifier

EXIT_FAILED = 1  # a thread died, or the end had to be forced
EXIT_REFUSED = 2  # bad configuration, runs already, port in use
REPORT_BYTES_MAX = 65_536
_WAKE = 0  # no signal has this number

_Handler = Callable[[int, FrameType | None], object] | int | None
_log = logs.part("daemon")


class CannotStart(Exception):
    """The body's one clear reason not to start (a port in use, an unreadable file): printed, logged, exit code 2."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run. `name` is the program's name; paths must be absolute when `foreground` is False."""

    name: str
    foreground: bool = True
    pid_file: Path | None = None
    log: LogConfig = field(default_factory=LogConfig)
    drain_s: float = 10.0  # from the wish to stop to the forced end
    start_limit_s: float = 60.0  # how long the starting command waits for ready()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every daemon for its life; `chosen` reads them. The init scripts rely on their names."""
    life = parser.add_argument_group("life")
    life.add_argument("--daemon", action="store_true", help="detach; return when the daemon is ready or cannot start")
    life.add_argument("--pid-file", type=Path, metavar="FILE", help="hold and lock this file while running")


def chosen(arguments: argparse.Namespace, name: str, log: LogConfig) -> RunOptions:
    """RunOptions from parsed arguments. A log file that is relative counts from here, not from / where a daemon lives."""
    pid_file: Path | None = arguments.pid_file
    log = replace(log, file=log.file.absolute()) if log.file else log
    return RunOptions(name, not arguments.daemon, pid_file.absolute() if pid_file else None, log)


def run(options: RunOptions, body: Callable[[Life], int]) -> int:
    """Runs `body` in the main thread and returns the exit code. In daemon mode the calling process returns once the daemon is
    ready (0) or has said why it is not (its code); the daemon itself returns when it ends."""
    if options.foreground:
        return _serve(options, options.log, body, _Report(options.name, is_on_the_log=options.log.target == "stderr"))
    read_end, write_end = os.pipe()
    child = os.fork()
    if child:
        os.close(write_end)
        os.waitpid(child, 0)  # python-daemon detaches by forking twice; this one ends at once
        return _await_start(options, read_end)
    os.close(read_end)
    report = _Report(options.name, write_end)
    try:
        daemon.DaemonContext(files_preserve=[write_end], umask=0o022, signal_map={signal.SIGTSTP: None}).open()
    except daemon.daemon.DaemonError as fault:
        return report.failed(f"cannot detach: {fault}")
    return _serve(options, _detached_log(options.log), body, report)


def _detached_log(log: LogConfig) -> LogConfig:
    """A daemon has no stderr; its log goes to syslog then."""
    return LogConfig("syslog", None, log.level, log.levels) if log.target == "stderr" else log


class _Report:
    """Tells the one who started us: over the pipe from a detached daemon, on stderr otherwise. The first word counts."""

    def __init__(self, name: str, pipe: int = -1, *, is_on_the_log: bool = False) -> None:
        self.is_on_the_log = is_on_the_log  # the log goes to the same stderr: say things once
        self._name = name
        self._pipe = pipe

    def ready(self) -> None:
        self._write(b"0")

    def failed(self, text: str, code: int = EXIT_REFUSED) -> int:
        if self._pipe < 0:
            sys.stderr.write("".join(f"{self._name}: {line}\n" for line in text.splitlines()))
        self._write(f"{code}{text}".encode(errors="backslashreplace")[:REPORT_BYTES_MAX])
        return code

    def _write(self, data: bytes) -> None:
        pipe, self._pipe = self._pipe, -1
        if pipe >= 0:
            with contextlib.suppress(OSError):  # the starting command may be gone
                os.write(pipe, data)
            os.close(pipe)


def _await_start(options: RunOptions, pipe: int) -> int:
    """The starting command: waits for the daemon's first word."""
    said, deadline = b"", time.monotonic() + options.start_limit_s
    while select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
        piece = os.read(pipe, REPORT_BYTES_MAX)
        said += piece
        if not piece:
            break
    else:
        sys.stderr.write(f"{options.name}: is not ready after {options.start_limit_s:.0f} s; it goes on starting\n")
        return EXIT_FAILED
    os.close(pipe)
    code, text = (int(said[:1]), said[1:].decode()) if said else (EXIT_FAILED, "ended while it started; see its log")
    sys.stderr.write("".join(f"{options.name}: {line}\n" for line in text.splitlines()))
    return code


def _serve(options: RunOptions, log: LogConfig, body: Callable[[Life], int], report: _Report) -> int:
    pid_file = PidFile(options.pid_file) if options.pid_file else None
    try:
        logs.set_up(log, options.name)
        if pid_file:
            pid_file.take()
    except (logs.LogFault, PidFileFault) as fault:
        return report.failed(str(fault))
    if pid_file and pid_file.took_over:
        _log.info("took over the pid file %s of pid %d, which is gone", pid_file.path, pid_file.took_over)
    life = Life(options, report, pid_file)
    try:
        return life.run(body)
    finally:
        if pid_file:
            pid_file.release()


class Life:
    """What a daemon's body is handed. All methods may be called from any thread, but `run` and `on_reload`."""

    def __init__(self, options: RunOptions, report: _Report, pid_file: PidFile | None) -> None:
        self.stopping = threading.Event()
        self._options = options
        self._report = report
        self._pid_file = pid_file
        self._notifier = Notifier(os.environ)
        self._threads: list[threading.Thread] = []
        self._reloads: list[Callable[[], None]] = []
        self._code = 0
        self._stop_by = 0.0
        self._signals_seen = 0
        self._ended = False
        self._fed_at = 0.0
        self._notify_failed = False
        self._state = threading.Lock()
        self._wakeup, self._wake = socket.socketpair()
        self._wake.setblocking(False)

    # --- for the body -------------------------------------------------------------------------------------------------

    def thread(self, name: str, target: Callable[[], None]) -> threading.Thread:
        """Starts a thread; an exception out of `target` stops the daemon with the reason and exit code 1."""
        thread = threading.Thread(target=self._guarded, args=(name, target), name=name, daemon=True)
        with self._state:
            self._threads.append(thread)
        thread.start()
        return thread

    def on_reload(self, reload: Callable[[], None]) -> None:
        """Called on each HUP, in the thread `life`. It should hand the work on; an exception is logged and changes nothing."""
        self._reloads.append(reload)

    def ready(self, text: str) -> None:
        """The daemon serves from now on: the service manager and the starting command are told."""
        self._notify("READY=1", f"STATUS={text}")
        self._report.ready()

    def status(self, text: str) -> None:
        """One sentence for `systemctl status`."""
        self._notify(f"STATUS={text}")

    @property
    def alive_every_s(self) -> float:
        """The core thread must call alive() at least this often; infinite without a watchdog."""
        return self._notifier.watchdog_s / 3 if self._notifier.watchdog_s else float("inf")

    def alive(self) -> None:
        """Feeds the service manager's watchdog. To be called by the core's thread only: it vouches for that one."""
        now = time.monotonic()
        if now - self._fed_at >= self.alive_every_s / 2:
            self._fed_at = now
            self._notify("WATCHDOG=1")

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until the daemon is to stop, at most so long; is it to stop?"""
        return self.stopping.wait(timeout_s)

    def stop(self, reason: str, code: int = 0) -> None:
        """Asks the daemon to end in good order. The first non-zero `code` becomes the exit code."""
        self._stop(reason, code, logging.ERROR if code else logging.INFO)

    def _stop(self, reason: str, code: int, level: int) -> None:
        with self._state:
            self._code = self._code or code
            if self.stopping.is_set():
                return
            self._stop_by = time.monotonic() + self._options.drain_s
            _log.log(level, "stopping: %s", reason)
            self._notify("STOPPING=1", f"STATUS=stopping: {reason}")
            self.stopping.set()
        self._poke()

    # --- the frame around it --------------------------------------------------------------------------------------------

    def run(self, body: Callable[[Life], int]) -> int:
        """The whole life; returns the exit code. Main thread only."""
        before = self._catch_signals()
        watcher = threading.Thread(target=self._watch, name="life", daemon=True)
        watcher.start()
        try:
            self._code = self._run_body(body) or self._code
            self.stop("the work is done")
            for thread in self._threads:
                thread.join()  # `life` ends the process where this takes longer than drain_s
        finally:
            self._ended = True
            self._poke()
            watcher.join()
            self._restore_signals(before)
        _log.log(logging.DEBUG if self._code == EXIT_REFUSED else logging.INFO, "stopped, exit code %d", self._code)
        return self._code

    def _run_body(self, body: Callable[[Life], int]) -> int:
        try:
            return body(self)
        except CannotStart as fault:
            if not self._report.is_on_the_log:
                _log.error("cannot start: %s", fault)
            self._stop(f"cannot start: {fault}", EXIT_REFUSED, logging.DEBUG)
            return self._report.failed(str(fault))
        except Exception as fault:  # noqa: BLE001 - the top of the main thread
            self._died("main", fault)
            self._report.failed(f"died while it started: {_last_line(fault)}", EXIT_FAILED)
            return EXIT_FAILED

    def _guarded(self, name: str, target: Callable[[], None]) -> None:
        try:
            target()
        except Exception as fault:  # noqa: BLE001 - the top of a thread
            self._died(name, fault)

    def _died(self, name: str, fault: Exception) -> None:
        _log.error("thread %s died", name, exc_info=fault)
        self.stop(f"thread {name} died: {_last_line(fault)}", EXIT_FAILED)

    def _catch_signals(self) -> list[tuple[int, _Handler]]:
        before: list[tuple[int, _Handler]] = [(number, signal.signal(number, _left_to_life)) for number in _OURS]
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        _living.add(self)
        return before

    def _restore_signals(self, before: list[tuple[int, _Handler]]) -> None:
        _living.discard(self)
        signal.set_wakeup_fd(-1)
        for number, handler in before:
            signal.signal(number, handler)
        self._wake.close()
        self._wakeup.close()

    def _poke(self) -> None:
        with contextlib.suppress(OSError):  # full: it will wake anyway; closed: all is over
            self._wake.send(bytes([_WAKE]))

    def _watch(self) -> None:
        """The thread `life`: signals, and the end by force."""
        while not self._ended:
            self._wakeup.settimeout(max(0.0, self._stop_by - time.monotonic()) or 1e-3 if self.stopping.is_set() else None)
            try:
                numbers = self._wakeup.recv(256)
            except TimeoutError:
                self._end_now(f"not stopped after {self._options.drain_s:.0f} s")
            else:
                for number in numbers:
                    self._on_signal(number)

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._reload()
        elif number in (signal.SIGTERM, signal.SIGINT):
            self._signals_seen += 1
            name = signal.Signals(number).name
            if self._signals_seen > 1:
                self._end_now(f"second signal ({name})")
            self.stop(f"received {name}")

    def _reload(self) -> None:
        _log.info("received SIGHUP: %s", "reloading" if self._reloads else "there is nothing to reload")
        self._notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        for reload in self._reloads:
            try:
                reload()
            except Exception:  # noqa: BLE001 - the top of a thread; what was loaded before stays in force
                _log.exception("the reload failed, nothing was changed")
        self._notify("READY=1")

    def _end_now(self, why: str) -> None:
        frames = sys._current_frames()
        for thread in threading.enumerate():
            frame = frames.get(thread.ident or 0)
            if frame is not None and thread is not threading.current_thread():
                _log.warning("thread %s still runs: %s", thread.name, _where(frame))
        _log.error("ended at once: %s", why)
        if self._pid_file:
            self._pid_file.release()
        logging.shutdown()
        os._exit(EXIT_FAILED)

    def _notify(self, *lines: str) -> None:
        try:
            self._notifier.send(*lines)
        except OSError as fault:
            if not self._notify_failed:
                _log.warning("cannot tell the service manager: %s", fault)
            self._notify_failed = True


_living: weakref.WeakSet[Life] = weakref.WeakSet()


def _left_to_life(number: int, frame: FrameType | None) -> None:
    """A handler must be set for the wakeup socket to be written; the thread `life` does the rest."""


# A forked child must die of TERM, and must not write its signals into its parent's wakeup socket. Signals wait from before the
# fork until the child has its defaults back, so that none is taken by a handler that is the parent's.
_OURS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_mask = threading.local()


def _before_fork() -> None:
    _mask.old = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS) if _living else None


def _after_fork_in_parent() -> None:
    if _mask.old is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _mask.old)


def _after_fork_in_child() -> None:
    if _mask.old is not None:
        signal.set_wakeup_fd(-1)
        for number in _OURS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, _mask.old)


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def _last_line(fault: BaseException) -> str:
    return "".join(traceback.format_exception_only(fault)).strip().splitlines()[-1]


def _where(frame: FrameType) -> str:
    places = [f"{Path(entry.filename).name}:{entry.lineno} {entry.name}" for entry in traceback.extract_stack(frame)[-3:]]
    return " > ".join(places)
