"""What vmctl wants to know of hosts about VMs: a rendered file, a console, who uses an image. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from common.protocol import Execute, FetchProp, Value
from vmmanager.asking import EXECUTE_GRACE_S, Question
from vmmanager.context import Refused
from vmmanager.requests import Kind, Progress, Request

if TYPE_CHECKING:
    from vmmanager.vms.machines import Machines

IMAGES = "images_used"
ANSWER_S = 30.0
PREFIX = "question:"


class Questions:
    def __init__(self, machines: Machines) -> None:
        self._m = machines
        self._open: dict[str, Callable[[Request], None]] = {}

    def execute(self, call: int, host: str, command: str, parameters: dict[str, Value]) -> None:
        """One command that changes nothing; its result, with VM and host, is the answer."""
        execution = f"{self._m.context.name}-{self._m.context.next_id()}"
        message = Execute(execution=execution, command=command, parameters=parameters, timeout_s=ANSWER_S)

        def answered(request: Request) -> None:
            body = request.targets[host].body
            if body.get("kind") == "ok":
                result = body["result"]
                told = result if isinstance(result, dict) else {"text": result}
                self._m.context.reply(call, {"vm": parameters["vm"], "host": host} | told)
            else:
                self._m.context.refuse(call, Refused("refused", f"{host}: {body.get('reason') or 'no answer'}"))

        self._ask("exec", message, [host], ANSWER_S + EXECUTE_GRACE_S, answered)

    def image_users(self, call: int, name: str, version: str) -> None:
        """Every host must answer: what is not known may be running."""
        m = self._m
        hosts = m.seen.hosts()
        asked = [host for host in hosts if m.context.farm.clients[host].address]
        unknown = {host: "is not on the bus" for host in hosts if host not in asked}
        for record in m.records.values():
            unknown |= {place: m.seen.why_unknown(place, m.context.now.wall) for place in record.places if place not in hosts}
        defined = sorted(vm.name for vm in m.definitions.values() if _uses(vm.image, name, version))
        running: list[dict[str, str]] = []

        def answered(request: Request) -> None:
            for host, target in request.targets.items():
                reading = next((each for each in target.readings if each["name"] == IMAGES), None)
                if reading is None or reading["error"] or not isinstance(reading["value"], dict):
                    unknown[host] = "; ".join(target.errors) or str(target.body.get("reason") or "did not say")
                else:
                    running.extend(_users(host, reading["value"], name, version))
            m.context.reply(call, {"defined": defined, "running": running, "unknown": dict(sorted(unknown.items()))})

        if asked:
            self._ask("get", FetchProp(names=(IMAGES,)), asked, ANSWER_S, answered)
        else:
            m.context.reply(call, {"defined": defined, "running": running, "unknown": unknown})

    def _ask(
        self, kind: Kind, message: Question, hosts: list[str], timeout_s: float, answered: Callable[[Request], None]
    ) -> None:
        token = f"{PREFIX}{self._m.context.next_id()}"
        self._open[token] = answered
        progress: list[Progress] = []
        try:
            _, progress = self._m.asking.ask(kind, message, hosts, timeout_s, task=token)
        except Refused:
            del self._open[token]
            raise
        for item in progress:
            if item.request.ended:
                self.answered(item.request)

    def answered(self, request: Request) -> bool:
        """Was it one of ours?"""
        answered = self._open.pop(request.task, None)
        if answered is not None:
            answered(request)
        return answered is not None


def _uses(image: str, name: str, version: str) -> bool:
    """A definition without a version uses the newest, whichever that is."""
    known, _, of = image.partition("@")
    return known == name and (not version or not of or of == version)


def _users(host: str, used: dict[str, Any], name: str, version: str) -> list[dict[str, str]]:
    found = []
    for vm, image in sorted(used.items()):
        known, _, of = str(image).partition("@")
        if known == name and version in ("", of):
            found.append({"vm": vm, "host": host, "version": of})
    return found
