"""A daemon that does nothing but live, for the tests of its life. What it is asked to do wrong comes as the last arguments."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from common import logs
from common.config.model import LogConfig
from common.daemon import CannotStart, Life, add_arguments, chosen, run

_log = logs.part("tiny")


def body(life: Life, deed: str) -> int:
    _log.info("begins as pid %d", os.getpid())
    if deed == "refuse":
        raise CannotStart("port 4803 is in use")
    if deed == "die-early":
        raise ValueError("no such luck")
    life.on_reload(lambda: _log.info("reloaded in thread %s", threading.current_thread().name))
    if deed == "bad-reload":
        life.on_reload(lambda: _raise(ValueError("bad file")))
    life.thread("Worker", lambda: _work(life, deed))
    if deed == "deaf":  # main is blocked in C and never looks at `stopping`
        life.ready("deaf")
        subprocess.run(["sleep", "600"], check=False)
    life.ready("serving nobody")
    while not life.wait(min(1.0, life.alive_every_s)):
        life.alive()
    _log.info("drained")
    return 0


def _work(life: Life, deed: str) -> None:
    if deed == "thread-dies":
        raise RuntimeError("the worker\nhad enough")
    if deed == "stuck-thread":
        while True:
            time.sleep(0.1)
    if deed == "fork":
        child = os.fork()
        if child == 0:
            time.sleep(600)
            os._exit(0)
        os.kill(child, 15)
        _log.info("child ended by signal %d", os.waitpid(child, 0)[1])
    life.wait()


def _raise(fault: Exception) -> None:
    raise fault


def main() -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    parser.add_argument("--log-file", type=Path)
    parser.add_argument("--drain", type=float, default=10.0)
    parser.add_argument("deed", nargs="?", default="live")
    parser.add_argument("--config", type=Path, help="as the real ones have; not read")
    args = parser.parse_args()
    log = LogConfig("file", args.log_file) if args.log_file else LogConfig()
    options = replace(chosen(args, "tiny", log), drain_s=args.drain)
    return run(options, lambda life: body(life, args.deed))


if __name__ == "__main__":
    sys.exit(main())
