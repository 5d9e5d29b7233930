"""The SQLite file `<state>/vmmanager.db`: events, and the rows that must survive. Its own thread; knows no meaning of a row.

Commits are batched: whatever waits goes into one transaction, synced to disk (WAL, synchronous=FULL), and only then its
tokens are told. A disk that is full, locked or broken: the backlog is kept (bounded), the write is tried again, the tokens
are told the error at once, and it is said once.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from common import logs
from vmmanager.events import FindEvents, Loaded, Persist, Recalled, Record, Stored
from vmmanager.mailbox import Mailbox

FILE = "vmmanager.db"
SCHEMA_VERSION = 1
BUSY_S = 1.0  # waits so long for a lock of somebody else
RETRY_MIN_S, RETRY_MAX_S = 0.5, 10.0
EVENTS_BACKLOG_MAX = 10_000  # events that wait for a disk; beyond that the oldest are dropped and counted
ROWS_BACKLOG_MAX = 100_000  # rows that wait for a disk, the newest of each key
TRIM_EVERY = 1_000  # events between two looks at how many there are
CELL_CHARS_MAX = 1 << 20
WAL_BYTES_MAX = 16 << 20

_SCHEMA = """
create table if not exists events(
    id integer primary key, at real not null, kind text not null, subject text not null, text text not null,
    details text not null, who text not null);
create index if not exists events_at on events(at);
create index if not exists events_subject on events(subject, id);
create table if not exists rows(
    tab text not null, key text not null, value text not null, primary key(tab, key)) without rowid;
"""
Job = Persist | Record | FindEvents
_log = logs.part("store")


class Store:
    """`post` takes Loaded (once, when the file could be opened), Stored and Recalled back to the core."""

    def __init__(self, folder: Path, events_keep: int, post: Callable[[Loaded | Stored | Recalled], None]) -> None:
        self.path = folder / FILE
        self.inbox: Mailbox[Job] = Mailbox("store", 100_000)
        self.error = ""  # what hinders it now
        self.events = 0  # rows of the history, about
        self.events_keep = events_keep
        self.dropped = 0  # events that found no room
        self._post = post
        self._db: sqlite3.Connection | None = None
        self._events: deque[Record] = deque()
        self._rows: OrderedDict[tuple[str, str], str | None] = OrderedDict()
        self._tokens: list[str] = []
        self._since_trim = TRIM_EVERY
        self._retry_s = RETRY_MIN_S
        self._retry_at = 0.0
        self._loaded = False

    def status(self) -> dict[str, Any]:
        return {"ok": not self.error, "error": self.error, "events": self.events, "dropped": self.dropped}

    def run(self) -> None:
        """The thread: until the inbox is closed and empty; tries once more then, and says what is lost."""
        while True:
            waiting = bool(self._events or self._rows or self._db is None)
            jobs = self.inbox.take(self._retry_at if waiting else None)
            questions = self._sort(jobs)
            if jobs or time.monotonic() >= self._retry_at:
                self._write(forced=bool(self._tokens))
            for question in questions:
                self._answer(question)
            if self.inbox.closed and not len(self.inbox):
                break
        self._end()

    def _sort(self, jobs: list[Job]) -> list[FindEvents]:
        questions = []
        for job in jobs:
            if isinstance(job, FindEvents):
                questions.append(job)
            elif isinstance(job, Record):
                self._events.append(job)
            else:
                self._rows[job.table, job.key] = None if job.value is None else _text(job.value)
                self._rows.move_to_end((job.table, job.key))
                if job.token:
                    self._tokens.append(job.token)
        while len(self._events) > EVENTS_BACKLOG_MAX and self.error:
            self._events.popleft()
            self.dropped += 1
        while len(self._rows) > ROWS_BACKLOG_MAX and self.error:
            self._rows.popitem(last=False)
        return questions

    def _write(self, *, forced: bool) -> None:
        """One transaction. While it fails: again when it is time, or when somebody waits for an answer (`forced`)."""
        if self.error and not forced and time.monotonic() < self._retry_at:
            return
        tokens, self._tokens = self._tokens, []
        try:
            db = self._open()
            if self._events or self._rows:
                self._commit(db)
        except (sqlite3.Error, OSError) as fault:
            self._failed(fault)
            for token in tokens:
                self._post(Stored(token, self.error))
            return
        self._healed()
        for token in tokens:
            self._post(Stored(token))

    def _commit(self, db: sqlite3.Connection) -> None:
        events = [(e.id, e.at, e.kind, e.subject, e.text[:CELL_CHARS_MAX], _text(e.details), e.who) for e in self._events]
        rows = [(table, key, value) for (table, key), value in self._rows.items()]
        db.execute("begin immediate")
        try:
            db.executemany("insert or replace into events values(?, ?, ?, ?, ?, ?, ?)", events)
            db.executemany("insert or replace into rows values(?, ?, ?)", [row for row in rows if row[2] is not None])
            db.executemany("delete from rows where tab = ? and key = ?", [row[:2] for row in rows if row[2] is None])
            self._trim(db, len(events))
            db.execute("commit")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                db.execute("rollback")
            raise
        self._events.clear()
        self._rows.clear()

    def _trim(self, db: sqlite3.Connection, added: int) -> None:
        self.events += added
        self._since_trim += added
        if self._since_trim < TRIM_EVERY:
            return
        self._since_trim = 0
        keep = max(1, self.events_keep)
        db.execute("delete from events where id <= (select max(id) from events) - ?", (keep,))
        self.events = db.execute("select count(*) from events").fetchone()[0]

    def _open(self) -> sqlite3.Connection:
        if self._db is not None:
            return self._db
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        db = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
        try:
            self.path.chmod(0o600)  # the audit trail is not everybody's
            version = db.execute("pragma user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise sqlite3.DatabaseError(f"written by a newer version (schema {version}, this one knows {SCHEMA_VERSION})")
            db.execute("pragma journal_mode=wal")
            db.execute("pragma synchronous=full")
            db.execute(f"pragma journal_size_limit={WAL_BYTES_MAX}")
            db.executescript(_SCHEMA)
            db.execute(f"pragma user_version={SCHEMA_VERSION}")
            loaded = _load(db)
        except BaseException:
            db.close()
            raise
        self._db = db
        if not self._loaded:
            self._loaded = True
            self._post(loaded)
        return db

    def _failed(self, fault: Exception) -> None:
        text = str(fault) or type(fault).__name__
        if text != self.error:
            _log.error("store %s: cannot be written: %s; tried again until it works", self.path, text)
        self.error = text
        self._retry_at = time.monotonic() + self._retry_s
        self._retry_s = min(self._retry_s * 2, RETRY_MAX_S)
        if self._db is not None and not isinstance(fault, sqlite3.OperationalError):
            self._db.close()  # broken or replaced: open it afresh
            self._db = None

    def _healed(self) -> None:
        if self.error:
            lost = f"; {self.dropped} events were lost meanwhile" if self.dropped else ""
            _log.warning("store %s: written again%s", self.path, lost)
        self.error, self._retry_s, self._retry_at = "", RETRY_MIN_S, 0.0

    def _answer(self, question: FindEvents) -> None:
        try:
            rows = _find(self._open(), question)
        except (sqlite3.Error, OSError) as fault:
            self._post(Recalled(question.call, (), str(fault)))
        else:
            self._post(Recalled(question.call, tuple(rows)))

    def _end(self) -> None:
        if self._events or self._rows:
            self._write(forced=True)
        if self._events or self._rows:
            _log.error(
                "store %s: %d events and %d rows are lost: %s", self.path, len(self._events), len(self._rows), self.error
            )
        if self._db is not None:
            self._db.close()


def _load(db: sqlite3.Connection) -> Loaded:
    rows = []
    for table, key, text in db.execute("select tab, key, value from rows order by tab, key"):
        value = _value(text)
        if value is None:
            _log.error("store: row %s %s is not readable and is left out", table, key)
        else:
            rows.append((table, key, value))
    last = db.execute("select coalesce(max(id), 0) from events").fetchone()[0]
    return Loaded(tuple(rows), last)


def _find(db: sqlite3.Connection, question: FindEvents) -> list[dict[str, Any]]:
    where, values = ["at >= ?"], [question.since]
    for column, wanted in (("kind", question.kind), ("subject", question.subject)):
        if wanted:
            where.append(f"{column} = ?")
            values.append(wanted)  # type: ignore[arg-type]
    query = f"select id, at, kind, subject, text, details, who from events where {' and '.join(where)} order by id desc limit ?"
    found = db.execute(query, (*values, question.limit)).fetchall()
    names = ("id", "at", "kind", "subject", "text", "details", "who")
    return [dict(zip(names, row, strict=True)) | {"details": _value(row[5]) or {}} for row in reversed(found)]


def _text(value: dict[str, Any]) -> str:
    return msgspec.json.encode(value).decode()


def _value(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
