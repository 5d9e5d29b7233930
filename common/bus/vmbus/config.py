"""What the embedded daemon is told: addresses and every limit it keeps. Knows no file, no socket, no clock.

Sizes are bytes, times seconds. `problems` names each impossible value; the command line and the manager print them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path

MIB = 1024 * 1024
DAEMON_NAME = re.compile(r"[A-Za-z0-9._-]{1,19}")  # Spread: MAX_PROC_NAME 20 with its NUL


@dataclass(frozen=True, slots=True)
class BusDaemonConfig:
    """One vmbus. These bound what a slow or hostile session can cost; docs/design/0010 explains how they work together."""

    host: str = "127.0.0.1"
    port: int = 4803  # 0: any free port
    unix_path: Path | None = None  # also listens there; Spread's C library looks for /tmp/4803
    unix_mode: int = 0o600
    name: str = "localhost"  # the second half of private addresses: #NAME#localhost

    sessions_max: int = 4096  # more get "too many users"; real Spread: 997
    handshakes_max: int = 2048  # connections not yet through the handshake; beyond it the oldest is cut
    handshake_s: float = 5.0  # for the whole handshake

    groups_per_message_max: int = 100
    groups_per_session_max: int = 1000  # a session that wants to join more gets a REJECT for that join
    members_per_group_max: int = 4000  # a view must fit one message: 48 + 32 * 4000 + 56 = 128,104
    body_bytes_max: int = 143_152  # data + 32 * groups; real Spread: 143,200 with the header of 48

    pause_bytes: int = 16 * MIB  # unread by one session, and more than pause_messages: who sends to it must wait (is not read)
    pause_messages: int = 1000  # as many as real Spread queues before it cuts
    stall_s: float = 5.0  # a session that others wait for, and that does not catch up by a quarter within this time, is cut
    queue_bytes_max: int = 192 * MIB  # hard limit of one session's queue: cut at once
    queue_messages_max: int = 400_000
    total_bytes_max: int = 256 * MIB  # queued for all sessions, each message counted once: beyond it all senders wait
    stuck_s: float = 15.0  # cut when it has something to read and took not one byte for so long

    read_bytes: int = 256 * 1024  # read from one session at a time, so that none keeps the others waiting
    socket_buffer_bytes: int = 256 * 1024  # SO_SNDBUF, SO_RCVBUF
    cut_log_lines: int = 20  # log lines about cut sessions per cut_log_s; the rest is counted
    cut_log_s: float = 10.0

    def problems(self) -> list[str]:
        """One sentence for each value that cannot work; empty when all is well."""
        found = [
            f"{field.name} must be greater than 0, not {getattr(self, field.name)}"
            for field in fields(self)
            if field.name not in ("host", "port", "unix_path", "unix_mode", "name") and not getattr(self, field.name) > 0
        ]
        if not DAEMON_NAME.fullmatch(self.name):
            found.append(f"name must be 1 to 19 letters, digits, dots, dashes or underscores, not {self.name!r}")
        if not 0 <= self.port <= 65535:
            found.append(f"port must be 0 to 65535, not {self.port}")
        if self.groups_per_message_max > 100:
            found.append("groups_per_message_max must be at most 100 (Spread's clients' limit)")
        if self.members_per_group_max > 4400:
            found.append("members_per_group_max must be at most 4400 (a view must fit one message)")
        if self.body_bytes_max > 143_904:
            found.append("body_bytes_max must be at most 143904 (Spread's clients' limit)")
        if self.pause_bytes > self.queue_bytes_max or self.pause_messages > self.queue_messages_max:
            found.append("pause_bytes and pause_messages must not be above queue_bytes_max and queue_messages_max")
        return found
