"""What can happen to a farm, as the words of a scenario: one table, word -> function. Decides nothing, prints nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sim.failover.hosts import HostBox
from sim.failover.world import World

PARTS = ("client", "guard")


class Wrong(Exception):
    """A line of a scenario that means nothing; the text says why."""


def happen(world: World, verb: str, words: list[str]) -> None:
    """Raises Wrong."""
    do = VERBS.get(verb)
    if do is None:
        raise Wrong(f"there is no command {verb}; there are {', '.join(sorted(VERBS))}")
    try:
        do(world, *words)
    except (TypeError, KeyError, ValueError) as fault:
        raise Wrong(f"{verb} {' '.join(words)}: not understood ({fault})") from None


def _host(world: World, name: str) -> HostBox:
    if name not in world.hosts:
        raise Wrong(f"there is no host {name}")
    return world.hosts[name]


def _processes(world: World, name: str, part: str = "") -> list[Any]:
    if name in world.managers:
        return [world.managers[name]]
    host = _host(world, name)
    return [host.client] if part == "client" else [host.guard] if part == "guard" else [host.guard, host.client]


def kill(world: World, name: str, part: str = "") -> None:
    """A manager, the bus, a host (its power fails), or the client or guard of a host."""
    if name == "bus":
        world.bus.kill()
    elif name in world.managers:
        world.managers[name].kill()
    elif part == "client":
        _host(world, name).kill_client()
    elif part == "guard":
        _host(world, name).guard.kill()
    else:
        _host(world, name).machine.power_off("its power fails")


def restart(world: World, name: str, part: str = "") -> None:
    """A manager, the bus, a host (power is back), the client of a host."""
    if name == "bus":
        world.bus.start()
    elif name in world.managers:
        world.managers[name].kill()
        world.managers[name].start()
    elif part == "client":
        _host(world, name).kill_client()
        _host(world, name).start_client()
    elif _host(world, name).machine.on:
        _host(world, name).machine.reset("it is reset")
    else:
        _host(world, name).machine.power_on()


def pause(world: World, name: str, part: str = "") -> None:
    """SIGSTOP."""
    for process in _processes(world, name, part):
        process.stop()


def resume(world: World, name: str, part: str = "") -> None:
    """SIGCONT. Where the system stands still nobody hears it."""
    if name in world.hosts and world.hosts[name].machine.hung:
        return
    for process in _processes(world, name, part):
        process.go_on()


def hang(world: World, name: str) -> None:
    """The system of a host stands still, its domains run on."""
    _host(world, name).hang()


def unhang(world: World, name: str) -> None:
    _host(world, name).unhang()


def slow(world: World, name: str, seconds: str, part: str = "") -> None:
    """What a daemon hears it takes in later; `out`: what it decides it does later; `bus`: its way to the bus."""
    if part == "bus":
        link = world.bus.links[name]
        link.up_s = link.down_s = float(seconds)
        return
    for process in _processes(world, name, part if part in PARTS else ""):
        if part == "out":
            process.hold_s = float(seconds)
        else:
            process.lag_s = float(seconds)


def drift(world: World, name: str, percent: str) -> None:
    """The clocks of a host or manager go so much too fast (+) or slow (-)."""
    clock = world.managers[name].clock if name in world.managers else _host(world, name).clock
    clock.drift(1.0 + float(percent.removesuffix("%")) / 100)


def clock(world: World, name: str, seconds: str) -> None:
    """The wall clock of a host or manager is set."""
    (world.managers[name].clock if name in world.managers else _host(world, name).clock).wall_s += float(seconds)


def cut(world: World, *words: str) -> None:
    """NAME: from the bus (`out`, `in`: one direction); NAME storage; HOST HOST: between hosts; A B | C D: the bus."""
    if "|" in words:
        parts = " ".join(words).split("|")
        world.bus.split([part.split() for part in parts])
    elif len(words) == 2 and words[1] == "storage":
        world.storage.set(words[0], "cut")
    elif len(words) == 2 and words[1] in world.hosts:
        world.cut_between.add(frozenset(words))
    else:
        world.bus.cut(words[0], out="in" not in words[1:], in_="out" not in words[1:])


def heal(world: World, *words: str) -> None:
    """The same words; `bus`: a bus that was cut in parts; `all`: everything."""
    if words == ("all",):
        heal_all(world)
    elif words == ("bus",):
        world.bus.join()
    elif len(words) == 2 and words[1] == "storage":
        world.storage.set(words[0], "good")
    elif len(words) == 2:
        world.cut_between.discard(frozenset(words))
    else:
        world.bus.heal(words[0])


def storage(world: World, name: str, state: str) -> None:
    """NAME or `all`: good, cut, hangs, full, stale."""
    if state not in ("good", "cut", "hangs", "full", "stale"):
        raise Wrong(f"the storage cannot be {state}")
    for each in [*world.hosts, *world.managers] if name == "all" else [name]:
        world.storage.set(each, state)  # type: ignore[arg-type]


def disk(world: World, state: str, name: str) -> None:
    """full, hangs or good, of a manager or a host."""
    error = "No space left on device" if state == "full" else ""
    if name in world.managers:
        world.managers[name].disk_error, world.managers[name].disk_hangs = error, state == "hangs"
        if state != "hangs":
            world.managers[name].disk_works()
    else:
        host = _host(world, name)
        host.disk_error = host.client.disk_error = error


def power(world: World, name: str, state: str) -> None:
    """HOST off, on; or DEVICE good, broken, dead."""
    if name in world.hosts:
        machine = world.hosts[name].machine
        machine.power_off("its power is cut") if state == "off" else machine.power_on()
    else:
        world.power.device(name).state = state


def xl(world: World, name: str, state: str) -> None:
    """The tools of the hypervisor: hang, or work."""
    _host(world, name).machine.tools_work(state == "works")


def guest(world: World, name: str, what: str) -> None:
    """A guest crashes, or ends."""
    for host in world.truth.where.get(name, set()).copy():
        world.hosts[host].machine.guest(name, "crashed" if what == "crashes" else "shutdown")


def foreign(world: World, host: str, name: str) -> None:
    """Somebody starts a domain of this name by hand."""
    _host(world, host).machine.foreign(name)


def broken(world: World, name: str, *why: str) -> None:
    """Starts fail there; without a reason: they succeed again."""
    _host(world, name).machine.broken = " ".join(why)


def pace(world: World, name: str, *words: str) -> None:
    """How long the hypervisor of a host takes: start, stop, destroy, migrate, save, boot = seconds."""
    for word in words:
        key, seconds = word.split("=")
        if not hasattr(_host(world, name).machine.pace, f"{key}_s"):
            raise Wrong(f"no hypervisor takes its time to {key}")
        setattr(_host(world, name).machine.pace, f"{key}_s", float(seconds))


def heal_all(world: World) -> None:
    """Every fault ends, every daemon lives."""
    world.bus.join()
    for name in world.bus.links:
        link = world.bus.links[name]
        link.up_s = link.down_s = 0.001
        world.bus.heal(name)
    if not world.bus.running:
        world.bus.start()
    world.cut_between.clear()
    storage(world, "all", "good")
    for device in world.power.devices.values():
        device.state = "good"
    for manager in world.managers.values():
        manager.disk_error, manager.lag_s, manager.hold_s = "", 0.0, 0.0
        manager.disk_works()
        manager.go_on()
        manager.start()
    for host in world.hosts.values():
        host.disk_error = host.client.disk_error = host.machine.broken = ""
        host.client.lag_s = host.client.hold_s = host.guard.lag_s = host.guard.hold_s = 0.0
        host.machine.tools_work(True)
        host.unhang()
        if not host.machine.on:
            host.machine.power_on()
        elif host.machine.up and not host.client.alive:
            host.start_client()


VERBS: dict[str, Callable[..., None]] = {
    "kill": kill, "restart": restart, "pause": pause, "resume": resume, "hang": hang, "unhang": unhang, "slow": slow,
    "drift": drift, "clock": clock, "cut": cut, "heal": heal, "storage": storage, "disk": disk, "power": power, "xl": xl,
    "pace": pace, "guest": guest, "foreign": foreign, "broken": broken,
}  # fmt: skip
