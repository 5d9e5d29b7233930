"""A scripted manager on a real unix socket: answers as docs/design/0004 says, from what a test hands it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

NOW = 1_764_000_000.0  # 2025-11-24 16:00:00 UTC
Line = dict[str, Any]
Script = Callable[[dict[str, Any]], Iterator[Line | bytes]]
"""Arguments in, answer lines out; bytes go out as they are. Ending without a last line closes the connection."""


def says(result: Any) -> Script:
    """One good answer."""

    def script(args: dict[str, Any]) -> Iterator[Line | bytes]:
        yield {"ok": True, "result": result}

    return script


def refuses(code: str, text: str, **more: Any) -> Script:
    """One refusal."""

    def script(args: dict[str, Any]) -> Iterator[Line | bytes]:
        yield {"ok": False, "error": text, "code": code, **more}

    return script


def pieces(result: Any, *each: Any) -> Script:
    """Some pieces, then the end."""

    def script(args: dict[str, Any]) -> Iterator[Line | bytes]:
        for piece in each:
            yield {"more": piece}
        yield {"ok": True, "result": result}

    return script


class ScriptedManager:
    """Serves one connection after the other until it is closed. `asked` is every request in order."""

    def __init__(self, path: Path, scripts: dict[str, Script]) -> None:
        self.path = path
        self.scripts = scripts
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rwb") as stream:
                for line in stream:
                    request = json.loads(line)
                    self.asked.append((request["op"], request["args"]))
                    if not self._answer(stream, request):
                        return
        except (BrokenPipeError, ConnectionResetError):
            return  # vmctl was interrupted

    def _answer(self, stream: Any, request: dict[str, Any]) -> bool:
        """Whether the connection goes on."""
        script = self.scripts.get(request["op"], refuses("unknown-op", f"no such operation: {request['op']}"))
        ended = False
        for line in script(request["args"]):
            stream.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
            stream.flush()
            ended = isinstance(line, dict) and "ok" in line
        return ended
