"""A daemon that does what a test tells it, byte by byte: for what well-behaved daemons never do."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from common.bus.spread import codec

Script = Callable[[socket.socket], None]
LIMIT_S = 20.0


def exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (chunk := sock.recv(count - len(data))):
        data += chunk
    return data


def welcome(sock: socket.socket, private: str = "#me#scripted", version: tuple[int, int, int] = (5, 0, 1)) -> bytes:
    """The whole handshake, in the small pieces that a real daemon sends; gives the hello."""
    hello = sock.recv(100)
    for piece in (b"\x05", b"NULL "):
        sock.sendall(piece)
    assert exactly(sock, 90) == codec.encode_auth_choice(["NULL"])
    for byte in codec.encode_accepted(codec.Accepted(version, private)):
        sock.sendall(bytes([byte]))
    return hello


def request(sock: socket.socket) -> codec.Message:
    """The next message of the client."""
    header = codec.decode_header(exactly(sock, 48))
    return codec.decode_body(header, exactly(sock, header.rest_bytes))


def until_gone(sock: socket.socket) -> None:
    """Read and throw away until the client has closed."""
    with contextlib.suppress(OSError):
        while sock.recv(65536):
            pass


@contextmanager
def daemon(*scripts: Script) -> Iterator[str]:
    """Each connection runs the next script, the last one for all that follow; gives PORT@HOST. A script that fails, fails the
    test."""
    listener = socket.create_server(("127.0.0.1", 0))
    open_socks: list[socket.socket] = []
    faults: list[BaseException] = []
    threads: list[threading.Thread] = []

    def run(script: Script, sock: socket.socket) -> None:
        try:
            with sock:
                sock.settimeout(LIMIT_S)
                script(sock)
        except BaseException as fault:  # noqa: BLE001 - handed to the test
            if isinstance(fault, TimeoutError) or not isinstance(fault, OSError):  # else the client left
                faults.append(fault)

    def accept() -> None:
        number = 0
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            open_socks.append(sock)
            threads.append(threading.Thread(target=run, args=(scripts[min(number, len(scripts) - 1)], sock)))
            threads[-1].start()
            number += 1

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"{listener.getsockname()[1]}@127.0.0.1"
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join(LIMIT_S)
        for sock in open_socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(LIMIT_S)
    assert not faults, faults
