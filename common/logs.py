"""Logging set up from LogConfig: stderr, file, syslog or journal, a level for each part. Knows no daemon's business.

Loggers are called `vmherd.<part>`. Messages quote what came from the network, so control characters are escaped here, for
every target: one record is one line (a traceback: indented lines), and nobody can forge a line or move the cursor.

The journal is written by its native protocol, not by `<N>` prefixes on stderr: its fields let an operator ask for
`journalctl -u vmmanager VMHERD_PART=triggers`, and it works for a daemon that systemd did not start. Target stderr under
systemd (JOURNAL_STREAM) does get the `<N>` prefixes, so that priorities survive there too.
"""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import IO

from common.config.model import LogConfig
from common.ratelimit import RateLimit

ROOT = "vmherd"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LINE_CHARS_MAX = 8192  # of one message; the rest is cut, with a mark
JOURNAL_SOCKET = Path("/run/systemd/journal/socket")
SYSLOG_SOCKET = Path("/dev/log")
LOST_SAID_EVERY_S = 60.0

_CONTROLS = {*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
_ESCAPES = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in sorted(_CONTROLS)} | {
    0x09: " ", 0x0A: "\\n", 0x0D: "\\r",
}  # fmt: skip


class LogFault(Exception):
    """The log cannot be written as configured; the text says which key or file, and why."""


def part(name: str) -> logging.Logger:
    """The logger of one part: bus, triggers, readers, ..."""
    return logging.getLogger(f"{ROOT}.{name}")


def set_up(config: LogConfig, program: str, *, stderr: IO[str] | None = None) -> None:
    """Makes all records go where `config` says, from now on; may be called again. Raises LogFault, and then changes nothing."""
    root_level, levels = _level(config.level, "level"), {}
    for name, text in sorted(config.levels.items()):
        levels[f"{ROOT}.{name}"] = _level(text, f"levels: {name}")
    handler = _handler(config, program, stderr or sys.stderr)
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    root = logging.getLogger()
    old, root.handlers = root.handlers, [handler]
    root.setLevel(logging.WARNING)
    for name in [name for name in logging.Logger.manager.loggerDict if name.startswith(f"{ROOT}.")]:
        logging.getLogger(name).setLevel(logging.NOTSET)
    logging.getLogger(ROOT).setLevel(root_level)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    for previous in old:
        previous.close()


def printable(text: str) -> str:
    """One line that shows what is in `text` and does nothing to a terminal."""
    safe = text.translate(_ESCAPES)
    return safe if len(safe) <= LINE_CHARS_MAX else f"{safe[:LINE_CHARS_MAX]} ... ({len(safe)} characters)"


class RateLimited:
    """Logs the first of many equal things, then their count once a period. Usable from several threads."""

    def __init__(
        self,
        logger: logging.Logger,
        every_s: float = 60.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        keys_max: int = 1000,
    ) -> None:
        self._logger = logger
        self._clock = clock
        self._limit = RateLimit(every_s, keys_max)
        self._noting = threading.Lock()

    def log(self, key: Hashable, first: str, more: str, level: int = logging.WARNING) -> None:
        """`more` is said of the later ones, with {} for their number: "dropped {} more expired messages from xen3"."""
        with self._noting:
            said = self._limit.note(key, first, more, self._clock())
        for sentence in said:
            self._logger.log(level, "%s", sentence)

    def flush(self, level: int = logging.WARNING) -> None:
        """Logs the sums that are due; call it now and then."""
        with self._noting:
            said = self._limit.due(self._clock())
        for sentence in said:
            self._logger.log(level, "%s", sentence)


class _Lines(logging.Formatter):
    """`2026-01-02 03:04:05.678 warning bus: sentence`; without time where the target adds its own."""

    def __init__(self, *, time: bool, priority: bool = False) -> None:
        super().__init__()
        self._time = time
        self._priority = priority

    def format(self, record: logging.LogRecord) -> str:
        start = f"<{_priority(record)}>" if self._priority else ""
        level = "" if self._priority else f"{record.levelname.lower()} "
        when = f"{self.formatTime(record, '%Y-%m-%d %H:%M:%S')}.{int(record.msecs):03d} " if self._time else ""
        lines = [f"{when}{level}{_part(record)}: {printable(record.getMessage())}"]
        if record.exc_info:
            lines += [f"    {printable(line)}" for line in self.formatException(record.exc_info).splitlines()]
        return "\n".join(start + line for line in lines)


def _part(record: logging.LogRecord) -> str:
    return record.name.removeprefix(f"{ROOT}.")


def _priority(record: logging.LogRecord) -> int:
    """syslog(3) severity."""
    for level, priority in ((50, 2), (40, 3), (30, 4), (20, 6)):
        if record.levelno >= level:
            return priority
    return 7


class _Losses:
    """What happens when the target takes no records (a full disk): the daemon goes on; the losses are counted and told."""

    def __init__(self) -> None:
        self._lost = 0
        self._said_at = -LOST_SAID_EVERY_S

    def lost(self) -> None:
        self._lost += 1
        now = time.monotonic()
        if now - self._said_at >= LOST_SAID_EVERY_S:
            self._said_at = now
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(f"cannot write the log: {sys.exc_info()[1]}; {self._lost} records lost\n")
                sys.stderr.flush()

    def take(self) -> int:
        count, self._lost = self._lost, 0
        return count


class _File(logging.handlers.WatchedFileHandler):
    """Opens its file again after logrotate moved it. The parent's emit raises where it cannot: that would end a thread."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self._losses = _Losses()
        self._failed = False  # to write the record at hand

    def emit(self, record: logging.LogRecord) -> None:
        self._failed = False
        try:
            if self.stream is None:  # a reopening failed before
                self.stream = self._open()
            self.reopenIfNeeded()
        except OSError:
            self.handleError(record)
            return
        super().emit(record)
        if not self._failed and (count := self._losses.take()):
            text = f"{count} records were lost: the log file took none"
            super().emit(logging.LogRecord(f"{ROOT}.log", logging.WARNING, "", 0, text, None, None))

    def handleError(self, record: logging.LogRecord) -> None:
        self._failed = True
        self._losses.lost()

    def close(self) -> None:
        with contextlib.suppress(OSError):  # a full disk again; the new target must not suffer for it
            super().close()


class _Journal(logging.Handler):
    """journald's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram of fields a record."""

    def __init__(self, path: Path, program: str) -> None:
        super().__init__()
        self._path = str(path)
        self._program = program
        self._losses = _Losses()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.connect(self._path)
        except OSError:
            self._socket.close()
            raise

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._send(self._fields(record))
        except OSError:
            self._losses.lost()

    def _send(self, datagram: bytes) -> None:
        try:
            self._socket.send(datagram)
        except ConnectionError:  # journald was started anew
            self._socket.connect(self._path)
            self._socket.send(datagram)

    def _fields(self, record: logging.LogRecord) -> bytes:
        fields = {
            "MESSAGE": printable(record.getMessage()),
            "PRIORITY": str(_priority(record)),
            "SYSLOG_IDENTIFIER": self._program,
            "VMHERD_PART": _part(record),
            "THREAD_NAME": record.threadName or "",
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
        }
        if record.exc_info:
            fields["VMHERD_TRACEBACK"] = logging.Formatter().formatException(record.exc_info)[-LINE_CHARS_MAX:]
            fields["MESSAGE"] += f" ({printable(fields['VMHERD_TRACEBACK'].splitlines()[-1])})"
        return b"".join(_journal_field(name, value.encode(errors="backslashreplace")) for name, value in fields.items())

    def close(self) -> None:
        self._socket.close()
        super().close()


def _journal_field(name: str, value: bytes) -> bytes:
    if b"\n" in value:  # name, newline, 64-bit little-endian length, value
        return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
    return name.encode() + b"=" + value + b"\n"


def _handler(config: LogConfig, program: str, stderr: IO[str]) -> logging.Handler:
    try:
        if config.target == "file":
            return _file(config)
        if config.target == "syslog":
            return _syslog(program)
        if config.target == "journal":
            return _Journal(JOURNAL_SOCKET, program)
    except OSError as fault:
        raise LogFault(f"log target {config.target}: {_target(config)}: {fault.strerror or fault}") from None
    handler = logging.StreamHandler(stderr)
    to_journal = _is_journal(stderr)
    handler.setFormatter(_Lines(time=not to_journal, priority=to_journal))
    return handler


def _target(config: LogConfig) -> Path | None:
    return {"file": config.file, "syslog": SYSLOG_SOCKET, "journal": JOURNAL_SOCKET}.get(config.target)


def _file(config: LogConfig) -> logging.Handler:
    if config.file is None:
        raise LogFault("log target file: needs `file = PATH`")
    handler = _File(config.file)
    handler.setFormatter(_Lines(time=True))
    return handler


def _syslog(program: str) -> logging.Handler:
    handler = logging.handlers.SysLogHandler(str(SYSLOG_SOCKET), facility=logging.handlers.SysLogHandler.LOG_DAEMON)
    handler.ident = f"{program}[{os.getpid()}]: "
    handler.append_nul = False
    handler.setFormatter(_Lines(time=False))
    return handler


def _is_journal(stream: IO[str]) -> bool:
    """systemd.exec(5): JOURNAL_STREAM holds device:inode of the stream that goes to the journal."""
    with contextlib.suppress(OSError, ValueError):
        fact = os.fstat(stream.fileno())
        return os.environ.get("JOURNAL_STREAM") == f"{fact.st_dev}:{fact.st_ino}"
    return False


def _level(text: str, key: str) -> int:
    name = text.strip().upper()
    if name not in LEVELS:
        raise LogFault(f"log {key} = {text}: is none of {', '.join(LEVELS)}")
    return logging.getLevelNamesMapping()[name]
