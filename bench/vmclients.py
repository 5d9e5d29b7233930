"""Many hosts with a simulated hypervisor in one process: real client cores, sockets, keys, the real commands of plugins/vm.py.

`python -m bench.vmclients --daemon PORT@HOST --first 0 --count 25 --farm DIR --local-keys DIR`. Journals and worker processes
are left out: fifty of them would measure this machine instead of the manager. Prints `ready` when all have said hello.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from bench.fleetclients import Core, run, trusted
from common.config import hypervisors
from common.config.model import BusConfig, ClientConfig, HypervisorConfig, PropertyConfig, Where
from common.keys import Keyring
from common.plugin import CommandFailed, Refused, Site, Unknown
from vmclient.events import Effect, Event, Journal, Journaled, Loaded, Moment, Progress, ReadDone, Run, RunDone
from vmclient.loader import Found, Loader
from vmclient.worker import carried

GIB = 1024**3
MEMORY_BYTES = 64 * GIB
CPUS = 32
TICKS_S = 10.0  # as it is by default


class VmHost(Core):
    """One host. `found`: the plugins, by (kind, name)."""

    def __init__(self, config: ClientConfig, found: dict[tuple[str, str], Found], keys: Path, managers: Keyring) -> None:
        super().__init__(config, "", keys, managers)
        self._found = found

    def plugins(self) -> Loaded:
        readers = tuple(name for kind, name in self._found if kind == "reader")
        return Loaded(readers, {name: one.plugin.subject for (kind, name), one in self._found.items() if kind == "command"})

    def _perform(self, effect: Effect, now: Moment) -> list[Event]:
        if isinstance(effect, Journal):
            return [Journaled(effect.execution)]
        if isinstance(effect, Run):
            return self._run(effect)
        return super()._perform(effect, now)

    def _read(self, one: PropertyConfig, now: Moment) -> ReadDone:
        found = self._found["reader", one.command]
        try:
            value = found.function(**found.signature.bind((), {}, Site(self.config.name, hypervisor=self.config.hypervisor)))
        except Unknown as fault:
            return ReadDone(one.name, None, str(fault), "", now.mono)
        return ReadDone(one.name, carried(value, one.type_bytes_max), "", "", now.mono)

    def _run(self, order: Run) -> list[Event]:
        """What it tells on its way, then its end."""
        told: list[Event] = []
        found, started = self._found["command", order.command], time.monotonic()
        site = Site(
            self.config.name,
            hypervisor=self.config.hypervisor,
            remaining_s=lambda: order.timeout_s,
            progress=lambda text, share=None: told.append(Progress(order.execution, text, share)),
        )
        try:
            value = carried(found.function(**found.signature.bind((), order.parameters, site)), 65_536)
            end = RunDone(order.execution, "ok", "", value, "", time.monotonic() - started)
        except (CommandFailed, Refused) as fault:
            end = RunDone(order.execution, "error", str(fault), None, "", time.monotonic() - started)
        return [*told, end]


def config_of(name: str, daemon: str, farm: Path) -> ClientConfig:
    """Each host has a folder of its own: the lock of a common one would be the slowest part."""
    one = HypervisorConfig(
        engine="sim", ticks=TICKS_S, farm=farm / name, saves=farm / name, sim_memory_bytes=MEMORY_BYTES, sim_cpus=CPUS
    )
    properties = hypervisors.properties(one, Where("bench"))
    return ClientConfig(name, bus=BusConfig(daemon=daemon), hypervisor=one, allow=("vm",), properties=properties)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--daemon", required=True)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--count", type=int, required=True)
    options.add_argument("--farm", type=Path, required=True)
    options.add_argument("--local-keys", type=Path, required=True)
    given = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    loader = Loader(lambda name: None, {})
    loader.load((hypervisors.PLUGIN,), "")
    if loader.faults:
        raise SystemExit(str(loader.faults))
    managers = trusted(given.local_keys)
    names = [f"host{at:02d}.bench" for at in range(given.first, given.first + given.count)]
    hosts = [VmHost(config_of(name, given.daemon, given.farm), loader.found, given.local_keys, managers) for name in names]
    for host in hosts:
        host.step(host.plugins())
    run(hosts)


if __name__ == "__main__":
    main()
