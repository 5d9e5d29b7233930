"""`vmmanager`: reads the configuration, opens the bus, builds the threads, and lives until it is told to stop."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from common import VERSION
from common.bus.open import open_bus
from common.config.load import EXIT_BAD, check_manager, load_manager
from common.config.model import ConfigurationError, Fault, ManagerConfig
from common.daemon import CannotStart, Life, RunOptions, run
from common.keys import KeyFault
from vmmanager.control import ControlFault
from vmmanager.embedded import EmbeddedBus
from vmmanager.environments.expression import policy_faults
from vmmanager.triggers.rule import faults
from vmmanager.wiring import Daemon

CONFIGURATION = Path("/etc/vmherd/vmmanager.ini")
ALIVE_S_MAX = 1.0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="vmmanager", description="Gathers what vmclients tell, decides by triggers, acts.")
    made.add_argument("-c", "--config", type=Path, default=CONFIGURATION, metavar="FILE", help=f"default {CONFIGURATION}")
    how = made.add_mutually_exclusive_group()
    how.add_argument("--foreground", action="store_true", help="stay in the foreground (the default)")
    how.add_argument("--daemon", action="store_true", help="detach; returns once the manager is ready or has said why not")
    how.add_argument("--check-config", action="store_true", help="read all files, say what is wrong, and end")
    made.add_argument("--pid-file", type=Path, metavar="FILE")
    made.add_argument("--version", action="version", version=f"vmmanager {VERSION}")
    return made


def load(path: Path) -> ManagerConfig:
    """The files, checked also for what only the trigger engine knows. Raises ConfigurationError."""
    return load_manager(path, also=engine_faults)


def engine_faults(config: ManagerConfig) -> Iterable[Fault]:
    return [*faults(config.triggers), *policy_faults(config.environments)]


def main(argv: Sequence[str] | None = None) -> int:
    options = parser().parse_args(argv)
    path = options.config.absolute()
    if options.check_config:
        text, code = check_manager(path, also=engine_faults)
        print(text, file=sys.stderr if code else sys.stdout)
        return code
    try:
        config = load(path)
    except ConfigurationError as bad:
        for fault in bad.faults:
            print(fault, file=sys.stderr)
        return EXIT_BAD
    pid_file = options.pid_file.absolute() if options.pid_file else None
    life = RunOptions("vmmanager", foreground=not options.daemon, pid_file=pid_file, log=config.log)
    return run(life, lambda life: body(life, config, path))


def body(life: Life, config: ManagerConfig, path: Path) -> int:
    """From the first thread to the last."""
    embedded = EmbeddedBus(config.bus) if config.bus.engine == "embedded" else None
    if embedded:
        life.thread("vmbus", embedded.run)
    bus = open_bus(config.bus, config.name, membership=True)
    try:
        daemon = Daemon(config, bus, lambda: load(path))
    except (KeyFault, ControlFault) as fault:
        bus.close()
        if embedded:
            embedded.stop()
        raise CannotStart(str(fault)) from None
    daemon.start(life.thread, life.alive, min(life.alive_every_s, ALIVE_S_MAX))
    life.on_reload(daemon.reload)
    life.ready(f"manager {config.name}, bus {config.bus.daemon}")
    life.wait()
    daemon.stop()
    if embedded:
        embedded.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
