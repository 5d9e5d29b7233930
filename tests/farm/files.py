"""The files of a test farm: what each daemon's configuration says. Starts nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

PLUGIN = '''\
"""A value that a test turns, and readers that misbehave."""
from pathlib import Path

from common.plugin import reader


@reader("knob")
def knob(path: str) -> int:
    """The number in a file."""
    return int(Path(path).read_text())
'''

NOTE_SH = """\
#!/bin/sh
# Appends one line to a file: how often it stands there is how often it was run.
printf '%s\\n' "$2" >> "$1"
"""

SLOW_SH = """\
#!/bin/sh
# Says that it has begun, then never ends by itself.
printf '%s\\n' "$2" >> "$1"
exec tail -f "$1"
"""

MANAGER_INI = """\
[manager]
name = {name}
managers = {managers},
grace = {grace}
silent_after = {silent_after}
refresh = {refresh}
request_timeout = {request_timeout}
stale_factor = 100
[bus]
engine = {engine}
daemon = {port}@127.0.0.1
reconnect_max = 0.5
[log]
target = stderr
[paths]
state = {state}
run = run
{local_keys}
"""

CLIENT_INI = """\
[client]
name = {name}
groups = {groups}
heartbeat = {heartbeat}
allow = {allow}
accept_managers = {accept_managers}
[bus]
daemon = {port}@127.0.0.1
reconnect_max = 0.5
[log]
target = stderr
[paths]
state = {state}
run = run
plugins = plugins
{local_keys}
[programs]
[[note]]
argv = /bin/sh, {folder}/note.sh, {folder}/notes, {{text}}
timeout = 20
[[[patterns]]]
text = '[^\\n]{{1,200}}'
[[slow]]
argv = /bin/sh, {folder}/slow.sh, {folder}/notes, {{text}}
timeout = 120
[[[patterns]]]
text = '[^\\n]{{1,200}}'
"""

KNOB_INI = """\
[knob]
command = knob
parameters = {folder}/knob
return_type = int
ticks = 0.2
push = on_change
"""


@dataclass(frozen=True, slots=True)
class ManagerFiles:
    """One manager. `state`: its state directory, by default within its folder."""

    name: str
    managers: tuple[str, ...]
    triggers: str = ""
    engine: str = "spread"
    grace: float = 0.0
    silent_after: float = 60.0
    refresh: float = 60.0
    request_timeout: float = 10.0
    state: str = "state"
    local_keys: bool = True


@dataclass(frozen=True, slots=True)
class ClientFiles:
    """One client. `plugins`: further modules for its folder, name -> text; `properties`: further sections."""

    name: str
    groups: tuple[str, ...] = ("boxes",)
    allow: tuple[str, ...] = ("log", "exec")
    accept_managers: str = "listed"
    state: str = "state"
    heartbeat: float = 15.0
    local_keys: bool = True
    properties: str = ""
    plugins: dict[str, str] = field(default_factory=dict)


def write(path: Path, text: str) -> None:
    """For the owner alone, as files with code must be."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)


def write_manager(folder: Path, one: ManagerFiles, port: int) -> None:
    write(
        folder / "vmmanager.ini",
        MANAGER_INI.format(
            name=one.name,
            managers=", ".join(one.managers),
            grace=one.grace,
            silent_after=one.silent_after,
            refresh=one.refresh,
            request_timeout=one.request_timeout,
            engine=one.engine,
            port=port,
            state=one.state,
            local_keys=_local_keys(one.local_keys),
        ),
    )
    write(folder / "triggers.d" / "all.ini", one.triggers)


def write_client(folder: Path, one: ClientFiles, port: int) -> None:
    write(
        folder / "vmclient.ini",
        CLIENT_INI.format(
            name=one.name,
            groups="".join(f"{group}, " for group in one.groups).strip() or ",",
            heartbeat=one.heartbeat,
            allow="".join(f"{word}, " for word in one.allow).strip() or ",",
            accept_managers=one.accept_managers,
            state=one.state,
            port=port,
            local_keys=_local_keys(one.local_keys),
            folder=folder,
        ),
    )
    write(folder / "properties.d" / "all.ini", KNOB_INI.format(folder=folder) + one.properties)
    for name, text in {"knob.py": PLUGIN, **one.plugins}.items():
        write(folder / "plugins" / name, text)
    write(folder / "note.sh", NOTE_SH)
    write(folder / "slow.sh", SLOW_SH)
    write(folder / "knob", "0")


def _local_keys(wanted: bool) -> str:
    return "local_keys = ../keys" if wanted else ""
