"""What the demonstration does: a farm comes up, a client is killed, the alive check notices and has another client act."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from demo import failover, files, machines
from demo.processes import Failed, Farm
from demo.show import Show

WATCH_S = 6.0  # how long the farm is shown at peace
FIRE_S = 25.0  # silent for SILENT_S, and what is slow on a busy machine


def start(farm: Farm, show: Show) -> None:
    """Bus, manager, clients."""
    show.plain(f"A farm of one bus, one manager and {len(files.HOSTS)} clients on this machine, below {farm.folder}")
    farm.start_bus()
    show.say(f"vmbus listens at 127.0.0.1:{farm.port}")
    farm.start_manager()
    show.say(f"vmmanager {files.MANAGER} is up and leads")
    farm.start_clients()
    show.say("the clients are connected: " + ", ".join(f"{host.name} ({', '.join(host.groups)})" for host in files.HOSTS))
    show.plain()
    show.plain("Rules of the prototype, from conf/examples: [ram_free] [client_query] [client_alive_check]")
    for change in files.CHANGES:
        show.plain(f"  changed here: {change}")


def demo(farm: Farm, show: Show) -> str:
    """The whole story; the sentence that sums it up. Raises Failed."""
    start(farm, show)
    show.head("The farm, with real values of this machine")
    farm.wait("every client has told its free memory", lambda: _told(farm))
    _watch(farm, show, WATCH_S)
    killed_at = time.time()
    pid = farm.kill(files.VICTIM)
    show.head(f"{files.VICTIM} dies")
    show.say(f"SIGKILL to the vmclient of {files.VICTIM} (pid {pid})", "bold red")
    paged = _until_paged(farm, show)
    show.say(f"{files.WATCHER} ran `page`: {paged!r}", "bold green")
    show.head("What happened, as the manager noted it; times count from the kill")
    for line in _noted(farm, killed_at):
        show.plain(f"  {line}")
    after_s = time.time() - killed_at
    machines.tell(farm, show)
    moved = failover.tell(farm, show)
    return (
        f"{files.VICTIM} was killed, client_alive_check fired, {files.WATCHER} ran the command {after_s:.1f} s after the kill; "
        f"virtual machines were started, restarted, left alone and moved; {moved}"
    )


def _told(farm: Farm) -> bool:
    told = {row["client"] for row in farm.ask("props", "ram_free") if row.get("value")}
    return told == {host.name for host in files.HOSTS}


def _table(farm: Farm, show: Show) -> None:
    show.table(farm.ask("clients"), farm.ask("props"), [_rule(farm, name) for name in ("client_query", "client_alive_check")])


def _rule(farm: Farm, name: str) -> str:
    """How often its code ran, and what it last asked for of whom."""
    shown = farm.ask("trigger", "show", name)
    wish = next((wish for firing in shown["firings"] for wish in firing["wishes"]), None)
    times = "once" if shown["fired"] == 1 else f"{shown['fired']} times"
    return f"[{name}] ran {times} and {_asked(wish) if wish else 'had nothing to ask for'}"


def _asked(wish: dict[str, Any]) -> str:
    """`asked desk1 to run page`."""
    parameters = wish["arguments"].get("parameters") or {}
    deed = f"run {parameters.get('program')}" if wish["verb"] == "execute" else "tell their properties"
    return f"asked {', '.join(wish['targets']) or 'all clients'} to {deed}"


def _watch(farm: Farm, show: Show, for_s: float) -> None:
    """On a terminal the table lives for a while; else it is shown once, at the end."""
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        farm.check_alive()
        if show.live:
            _table(farm, show)
        time.sleep(0.5)
    _table(farm, show)
    show.settle()


def _until_paged(farm: Farm, show: Show) -> str:
    """Show how the client is lost and the trigger fires; what the other client's program wrote."""
    paged = farm.folder / files.PAGED
    end = time.monotonic() + FIRE_S
    while not paged.exists() or not paged.read_text():
        farm.check_alive()
        if time.monotonic() > end:
            raise Failed(f"{FIRE_S:.0f} s after the kill {files.WATCHER} has not run `page`:\n{_why(farm)}")
        if show.live:
            _table(farm, show)
        time.sleep(0.3)
    _table(farm, show)
    show.settle()
    return paged.read_text().splitlines()[0]


def _why(farm: Farm) -> str:
    shown: dict[str, Any] = farm.ask("trigger", "show", "client_alive_check")
    last = shown["firings"][0] if shown["firings"] else "none"
    return f"client_alive_check is {shown['state']}: {shown['why']}; its last firing: {last}"


def _noted(farm: Farm, killed_at: float) -> list[str]:
    """From the event history and the trigger's own record: the loss, the firing, what it asked for, what came of it."""
    since = datetime.fromtimestamp(killed_at - 0.5).isoformat()
    told = [(row["at"], row["text"]) for row in farm.ask("events", "--since", since, "--kind", "client")]
    firing = farm.wait("the manager has noted what came of the firing", lambda: _firing(farm))
    told.append((firing["at"], f"trigger client_alive_check fired and printed: {firing['printed'][0]}"))
    wish = firing["wishes"][0]
    told.append((firing["at"], f"it {_asked(wish)}"))
    told.append(((farm.folder / files.PAGED).stat().st_mtime, f"{wish['targets'][0]} ran it; its answer: {firing['outcome']}"))
    return [f"{at - killed_at:+6.1f} s  {text}" for at, text in sorted(told, key=lambda each: each[0])]


def _firing(farm: Farm) -> Any:
    """The first firing that had something to ask for, once it is over."""
    firings = farm.ask("trigger", "show", "client_alive_check")["firings"]
    first = next((each for each in reversed(firings) if each["wishes"]), None)
    return first if first and first["phase"] == "done" else None


def run(farm: Farm, show: Show) -> None:
    """The same farm, until Ctrl-C."""
    start(farm, show)
    show.head("The farm runs until you press Ctrl-C. In another terminal:")
    vmctl = files.program("vmctl")[0]
    show.plain(f"  export VMHERD_SOCKET={farm.socket}")
    for words in (
        "status",
        "clients",
        "get ram_free load --fetch --on all",
        f"exec log text=hello --on {files.WATCHER}",
        "vm start all -y",
        "host evacuate xen1 -y",
        "events -f",
    ):
        show.plain(f"  {vmctl} {words}")
    show.plain(f"Logs: {farm.folder}/*.log")
    while True:
        for name in farm.dead_clients():
            show.plain(f"vmclient of {name} has ended; the farm goes on without it")
        farm.check_alive()
        time.sleep(0.5)
