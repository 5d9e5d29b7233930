"""A running daemon for a test, in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from common.bus.vmbus.config import BusDaemonConfig
from common.bus.vmbus.server import Server

Start = Callable[..., Server]


@contextmanager
def running(config: BusDaemonConfig) -> Iterator[Server]:
    server = Server(config)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
        assert thread.is_alive(), "the daemon's loop has ended by itself"
    finally:
        server.stop()
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a daemon with the limits a test names; stops it afterwards."""
    with ExitStack() as stack:
        yield lambda **limits: stack.enter_context(running(replace(BusDaemonConfig(port=0), **limits)))


@pytest.fixture
def address(start: Start) -> tuple[str, int]:
    """Where a daemon with the usual limits listens."""
    return start().address
