"""`vmclient`: reads the configuration, opens the bus, runs the client until it is told to stop."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from pathlib import Path

from common import VERSION
from common.bus.contract import Bus, BusError
from common.bus.names import group_name
from common.bus.open import open_bus
from common.config.load import EXIT_BAD, check_client, load_client
from common.config.model import ClientConfig, ConfigurationError
from common.daemon import CannotStart, add_arguments, chosen, run
from common.paths import CONF
from vmclient.client import Client

CONFIGURATION = CONF / "vmclient.ini"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="vmclient", description="Tells managers of this host's properties and runs commands for them."
    )
    made.add_argument("-c", "--config", type=Path, default=CONFIGURATION, metavar="FILE", help=f"default {CONFIGURATION}")
    made.add_argument("--check-config", action="store_true", help="read all files and plugins, say what is wrong, and end")
    made.add_argument("--foreground", action="store_true", help="stay in the foreground (the default)")
    add_arguments(made)
    made.add_argument("--version", action="version", version=f"vmclient {VERSION}")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, 2 for what the user must mend, 1 for what went wrong while it ran."""
    made = parser()
    options = made.parse_args(argv)
    if options.foreground and options.daemon:
        made.error("--foreground and --daemon exclude each other")
    path = options.config.absolute()
    if options.check_config:
        return _check(path)
    try:
        config = load_client(path)
    except ConfigurationError as fault:
        print(fault, file=sys.stderr)
        return EXIT_BAD
    gc.collect()
    gc.freeze()  # what is loaded by now stays; the collector need not look at it again
    client = Client(config, lambda: load_client(path), open_client_bus, group_name)
    return run(chosen(options, "vmclient", config.log), client.serve)


def open_client_bus(config: ClientConfig) -> Bus:
    """Raises CannotStart: no such engine, no such module. A daemon that does not answer is not a reason: it may come."""
    try:
        return open_bus(config.bus, config.name, membership=False)
    except BusError as fault:
        raise CannotStart(f"bus {config.bus.daemon}: {fault}") from None


def _check(path: Path) -> int:
    from vmclient.check import plugin_faults  # only here: the daemon does not need it

    text, code = check_client(path, also=plugin_faults)
    print(text, file=sys.stderr if code else sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main())
