"""EXECUTE -> EXECVAL with real daemons: `python -m bench.execute [--quick]`.

A vmbus, a vmmanager and one vmclient as processes. Asked over the control socket as vmctl does: `log`, a command in Python, and
`exec` of /bin/true, one after the other; with it what a ping (CONTROL -> CLB_CONTROL) takes, which starts nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.bus import machine, vmbus
from bench.fleet import COMMON_INI, MANAGER_INI, daemon, wait
from vmctl.link import Link

CLIENT_INI = f"""\
[client]
name = host.bench
allow = log, exec:true
{COMMON_INI}[programs]
[[true]]
argv = /bin/true,
"""


def percentile(times: list[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]


def ask(link: Link, op: str, args: dict[str, Any]) -> float:
    """Seconds that one request took; ends the benchmark when it was not answered well."""
    started = time.perf_counter()
    result = link.ask(op, {"targets": ["host.bench"], "timeout": 30, **args})
    took = time.perf_counter() - started
    if result["answered"] != ["host.bench"]:
        raise SystemExit(f"{op} {args}: {result}")
    return took


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="a few requests, to see that it works")
    runs = 10 if options.parse_args().quick else 300
    print(machine())
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vmherd-bench-")))
        address, _ = stack.enter_context(vmbus())
        keys, host = folder / "keys", folder / "host"
        keys.mkdir(mode=0o700)
        host.mkdir()
        (folder / "vmmanager.ini").write_text(MANAGER_INI.format(port=address[1], keys=keys))
        (host / "vmclient.ini").write_text(CLIENT_INI.format(port=address[1], keys=keys))
        stack.enter_context(daemon("vmmanager", "--config", str(folder / "vmmanager.ini"), stdout=subprocess.DEVNULL))
        stack.enter_context(daemon("vmclient", "--config", str(host / "vmclient.ini"), stdout=subprocess.DEVNULL))
        link = Link(folder / "run" / "vmmanager.sock")
        wait(lambda: (folder / "run" / "vmmanager.sock").exists(), "the manager answers")
        wait(lambda: [row for row in link.ask("clients") if row["commands"]], "the client is connected")
        print(f"\nRequest to answer, one after the other (ms, {runs} of each)")
        print(f"{'':>32} {'median':>8} {'p99':>8}")
        for what, op, args in (
            ("ping (CONTROL)", "control", {"verb": "ping"}),
            ("log, in Python (EXECUTE)", "exec", {"command": "log", "parameters": {"text": "bench"}}),
            ("exec of /bin/true (EXECUTE)", "exec", {"command": "exec", "parameters": {"program": "true"}}),
        ):
            ask(link, op, args)  # the first one may start a worker process
            times = [ask(link, op, args) for _ in range(runs)]
            print(f"{what:>32} {1e3 * statistics.median(times):>8.2f} {1e3 * percentile(times, 0.99):>8.2f}", flush=True)


if __name__ == "__main__":
    main()
