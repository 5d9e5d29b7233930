"""A real vmbus and a real vmclient as processes, and a manager's side of the bus to talk to the client with."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from nacl.signing import SigningKey

from common.bus.contract import Closed, Delivery, Opened
from common.bus.open import open_bus
from common.config.model import BusConfig
from common.envelope import Envelope, Opener, Rejected, Sealer, introduced
from common.keys import Keyring, add_manager, raw_public
from common.protocol import ClbControl, Message

LIMIT_S = 30.0
READY = re.compile(r"listening on 127\.0\.0\.1:(\d+)")
T = TypeVar("T")


def until(what: Callable[[], T], why: str = "it never came") -> T:
    """The first true value of `what`."""
    deadline = time.monotonic() + LIMIT_S
    while not (found := what()):
        assert time.monotonic() < deadline, why
        time.sleep(0.01)
    return found


class VmBus:
    """A vmbus on a port of its own; `restart` keeps the port."""

    def __init__(self) -> None:
        self.port = 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "common.bus.vmbus", "--listen", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if ready := READY.search(line):
                self.port = int(ready[1])
                break
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class ManagerSide:
    """Signs and sends as manager `name`; keeps every message of clients that opens."""

    def __init__(self, port: int, name: str = "m1", epoch: int = 1) -> None:
        self.key = SigningKey.generate()
        self.name, self.epoch = name, epoch
        self.sealer = Sealer(name, self.key)
        self.ring = Keyring()
        self.got: list[Envelope] = []
        self.rejected: Counter[str] = Counter()
        self.opener = Opener({name, "managers"}, self.ring)
        self.connected = threading.Event()
        self.bus = open_bus(BusConfig(daemon=f"{port}@127.0.0.1", reconnect_max_s=0.5), name, membership=False)
        self.bus.join("managers")
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()
        assert self.connected.wait(LIMIT_S)

    def close(self) -> None:
        self.bus.close()
        self.thread.join(LIMIT_S)

    def send(self, message: Message, to: tuple[str, ...] = ("clients",), *, key: SigningKey | None = None) -> int:
        sealer = Sealer(self.name, key) if key else self.sealer
        request = sealer.next_id(time.time())
        self.bus.send(to, sealer.seal(message, to, time.time(), id=request, epoch=self.epoch))
        return request

    def answers(self, request: int) -> list[Message]:
        return [envelope.message for envelope in list(self.got) if envelope.in_reply_to == request]

    def ask(self, message: Message, to: tuple[str, ...] = ("clients",)) -> Message:
        request = self.send(message, to)
        return until(lambda: self.answers(request), f"no answer to {message}")[0]

    def greet(self) -> None:
        values = {"role": "manager", "key": raw_public(self.key).hex()}
        self.send(ClbControl(verb="hello", values={**values}))

    def hellos(self) -> list[ClbControl]:
        found = [one.message for one in list(self.got) if isinstance(one.message, ClbControl) and not one.in_reply_to]
        return [message for message in found if message.verb == "hello"]

    def _listen(self) -> None:
        while True:
            got = self.bus.receive(None)
            if isinstance(got, Opened):
                self.connected.set()
            elif isinstance(got, Closed) and got.final:
                return
            elif isinstance(got, Delivery):
                self._take(got.payload)

    def _take(self, payload: bytes) -> None:
        new = introduced(payload)
        if new and new[0] != self.name and self.ring.get(new[0]) is None:
            self.ring.set(new[0], new[1], "client", "accepted")
        try:
            self.got.append(self.opener.open(payload, time.time()))
        except Rejected as fault:
            self.rejected[fault.reason] += 1


class VmClient:
    """A vmclient process with its files in `folder`."""

    def __init__(self, folder: Path, port: int, more: str = "", programs: str = "", properties: str = "") -> None:
        self.folder = folder
        self.log = folder / "log"
        self.conf = folder / "vmclient.ini"
        (folder / "properties.d").mkdir(exist_ok=True)
        (folder / "plugins").mkdir(mode=0o755, exist_ok=True)
        (folder / "properties.d" / "p.ini").write_text(properties)
        self.conf.write_text(
            f"[client]\nname = x1\ngroups = dom0\n{more}\n[bus]\ndaemon = {port}@127.0.0.1\nreconnect_max = 500ms\n"
            f"[paths]\nstate = {folder}/state\nplugins = {folder}/plugins\n[programs]\n{programs}\n"
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def trust(self, manager: ManagerSide) -> None:
        add_manager(self.folder / "state" / "managers", manager.name, raw_public(manager.key))

    def start(self) -> None:
        (self.folder / "state").mkdir(mode=0o700, exist_ok=True)
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "vmclient", "-c", str(self.conf), "--foreground"]
            self.process = subprocess.Popen(command, stderr=log, stdout=log)
        self.starts += 1
        self.says(" plugins: plugins: ", self.starts)
        self.says("bus: connected as", self.starts)

    def says(self, text: str, times: int = 1) -> None:
        until(lambda: self.log.read_text().count(text) >= times, f"{text!r} is not in the log")

    def kill(self, number: int = signal.SIGKILL) -> int:
        assert self.process is not None
        os.kill(self.process.pid, number)
        return self.process.wait(LIMIT_S)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
