"""`vmbus`: runs the embedded daemon until SIGTERM or SIGINT. Only parses arguments and wires."""

from __future__ import annotations

import argparse
import ctypes
import resource
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from common import logs
from common.config.model import LogConfig
from common.daemon import CannotStart, Life, add_arguments, chosen, run

from .config import BusDaemonConfig
from .door import BusDaemonError
from .server import Server

DESCRIPTORS_SPARE = 64  # beyond the sessions and handshakes: listeners, epoll, log, ...
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
MALLOC_MMAP_BYTES = 1024 * 1024  # larger than anything read or queued at a time
MALLOC_TRIM_BYTES = 32 * 1024 * 1024  # what may lie idle after a burst
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
ADDRESSES = ("host", "port", "unix_path", "unix_mode", "name")  # fields of the configuration that have flags of their own


def listen_address(text: str) -> tuple[str, int]:
    """HOST:PORT, [HOST]:PORT, or PORT alone, which means 127.0.0.1."""
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


def mode(text: str) -> int:
    return int(text, 8)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="vmbus",
        description="Single-node group-communication daemon that speaks the Spread 5 session protocol.",
        epilog="Anyone who can reach the address is a full client: keep it on loopback or a trusted network.",
    )
    default = BusDaemonConfig()
    made.add_argument(
        "--listen",
        metavar="HOST:PORT",
        type=listen_address,
        default=(default.host, default.port),
        help=f"address; port 0 takes a free one (default {default.host}:{default.port})",
    )
    made.add_argument("--unix", metavar="PATH", type=Path, help="also listen on this unix socket (Spread's clients: /tmp/4803)")
    made.add_argument(
        "--unix-mode", metavar="OCTAL", type=mode, default=default.unix_mode, help="its permissions (default 600)"
    )
    made.add_argument("--name", default=default.name, help="daemon name in private addresses (default localhost)")
    made.add_argument("--log-level", type=str.upper, choices=LEVELS, default="INFO", metavar="LEVEL", help=", ".join(LEVELS))
    made.add_argument(
        "--log-target",
        choices=("stderr", "syslog", "journal"),
        default="stderr",
        metavar="TARGET",
        help="stderr, syslog or journal (default stderr; syslog with --daemon)",
    )
    made.add_argument("--log-file", type=Path, metavar="FILE", help="log to this file instead")
    add_arguments(made)
    limits = made.add_argument_group("limits", "sizes in bytes, times in seconds")
    for field in fields(BusDaemonConfig):
        if field.name not in ADDRESSES:
            value = getattr(default, field.name)
            kind = type(value).__name__
            limits.add_argument(
                "--" + field.name.replace("_", "-"),
                type=type(value),
                default=value,
                metavar=kind.upper(),
                help=f"default {value}",
            )
    return made


def configuration(arguments: argparse.Namespace) -> BusDaemonConfig:
    host, port = arguments.listen
    limits = {field.name: getattr(arguments, field.name) for field in fields(BusDaemonConfig) if field.name not in ADDRESSES}
    return BusDaemonConfig(host, port, arguments.unix, arguments.unix_mode, arguments.name, **limits)


def allow_descriptors(config: BusDaemonConfig) -> None:
    """Raise the soft limit of open files to what the configuration may need, as far as the hard limit lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = config.sessions_max + config.handshakes_max + DESCRIPTORS_SPARE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < wanted:
            logs.part("vmbus").warning(
                "only %d open files are allowed: about %d sessions instead of %d",
                allowed,
                max(0, allowed - DESCRIPTORS_SPARE),
                config.sessions_max,
            )


def keep_freed_memory() -> None:
    """Let the C library reuse the memory of messages instead of handing it back to the kernel after each one.

    Otherwise every message from about 100 KB on costs as many page faults as it has pages, which halves the throughput. Only
    where there is mallopt(3), that is with glibc; for the whole process, hence not in Server."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, MALLOC_MMAP_BYTES)
        mallopt(M_TRIM_THRESHOLD, MALLOC_TRIM_BYTES)


def serve(life: Life, config: BusDaemonConfig) -> int:
    allow_descriptors(config)
    keep_freed_memory()
    try:
        server = Server(config)
    except BusDaemonError as fault:
        raise CannotStart(str(fault)) from None

    def stop() -> None:
        life.wait()
        server.stop()

    with server:
        life.thread("stop", stop)
        life.ready("listening on {}:{}".format(*server.address))
        server.serve(life.alive, life.alive_every_s)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    config = configuration(arguments)
    log = LogConfig("file" if arguments.log_file else arguments.log_target, arguments.log_file, arguments.log_level)
    return run(chosen(arguments, "vmbus", log), lambda life: serve(life, config))


if __name__ == "__main__":
    sys.exit(main())
