"""What only the plugins know of a configuration: whether each reader, command and program exists and takes its parameters.

For `vmclient --check-config`. Imports the plugins in a worker process, as the daemon does, and runs none of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from common.config.model import ClientConfig, Fault, PropertyConfig, Where
from common.protocol import Value
from vmclient.executions import FAMILIES
from vmclient.frames import Job, Ready
from vmclient.outcomes import Catalogue, Ended, Limits, Said
from vmclient.setups import READER_DATA_BYTES, setup_of
from vmclient.workers import Pool

EXEC = "exec"


def plugin_faults(config: ClientConfig) -> list[Fault]:
    """To be handed to load_client as `also`."""
    pool = Pool("reader", setup_of(config, READER_DATA_BYTES), Limits(most=1), environment=os.environ)
    try:
        pool.start()
        faults, ready = _loaded(pool)
        return faults + (list(_allow_faults(config, ready)) + _property_faults(pool, config) if ready else [])
    finally:
        pool.close()


def _loaded(pool: Pool) -> tuple[list[Fault], Ready | None]:
    while True:
        for outcome in pool.wait(None):
            if isinstance(outcome, Catalogue):
                faults = [Fault(Where(module), why) for module, why in sorted(outcome.ready.faults.items())]
                return faults, outcome.ready
            if isinstance(outcome, Said) and not outcome.text.startswith("plugin module"):
                return [Fault(Where("plugins"), outcome.text)], None


def _property_faults(pool: Pool, config: ClientConfig) -> list[Fault]:
    places: dict[str, PropertyConfig] = {}
    faults: list[Fault] = []
    for one in config.properties:
        named: dict[str, Value] = {**one.named}
        pool.submit(
            one.name, Job(0, "reader", one.command, one.positional, named, one.timeout_s, one.type_bytes_max, check=True)
        )
        places[one.name] = one
        program = one.named.get("program") or (one.positional[0] if one.positional else "")
        if one.command == EXEC and program and program not in {listed.name for listed in config.programs}:
            faults.append(Fault(one.where, f"program {program} is not listed under [programs] of vmclient.ini"))
    while places:
        for outcome in pool.wait(None):
            if isinstance(outcome, Ended):
                one = places.pop(outcome.key)
                if outcome.kind != "ok":
                    faults.append(Fault(one.where, outcome.reason))
    return faults


def _allow_faults(config: ClientConfig, ready: Ready) -> Iterator[Fault]:
    """Bare names only: common/config knows the programs and the verbs."""
    commands = {entry.name for entry in ready.plugins if entry.kind == "command"}
    for allowed in config.allow:
        if ":" not in allowed and allowed not in commands and allowed not in FAMILIES:
            where = Where("vmclient.ini", section="client", key="allow")
            yield Fault(where, f"{allowed}: no plugin has this command; there are: {', '.join(sorted(commands))}")
