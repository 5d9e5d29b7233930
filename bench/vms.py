"""Starts and stops of many VMs through the real manager: `python -m bench.vms [--vms 1000] [--hosts 50] [--quick]`.

A real vmbus, a real vmmanager with its files on disk, and simulated hosts as bench/vmclients.py has them, all on this machine.
What `vmctl vm start all` and `vmctl vm stop --now all` do; after each, every hypervisor is looked at: is each VM there once, or
not at all?
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.bus import machine, vmbus
from bench.fleet import MANAGER_INI, START_S, daemon, wait
from plugins.sim_world import SimWorld
from vmctl.link import Link

CLIENT_PROCESSES = 2
VM_INI = "[vm{number:04d}]\nmemory = 1G\nvcpus = 2\nkernel = /boot/vmlinuz\n"


@dataclass(frozen=True, slots=True)
class Farm:
    link: Link
    manager: psutil.Process
    simulated: Path

    def domains(self) -> Counter[str]:
        """How often each VM is there, by the hypervisors themselves."""
        worlds = [SimWorld(folder) for folder in sorted(self.simulated.iterdir())]
        return Counter(name for world in worlds for host in world.hosts() for name in world.read(host).domains)


@contextlib.contextmanager
def farm(vms: int, hosts: int) -> Iterator[Farm]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vmherd-bench-")))
        address, _ = stack.enter_context(vmbus())
        keys, simulated = folder / "keys", folder / "simulated"
        keys.mkdir(mode=0o700)
        simulated.mkdir()
        (folder / "vmmanager.ini").write_text(MANAGER_INI.format(port=address[1], keys=keys))
        (folder / "vms.ini").write_text("".join(VM_INI.format(number=number) for number in range(vms)))
        (folder / "vms.ini").chmod(0o600)
        manager = stack.enter_context(daemon("vmmanager", "--config", str(folder / "vmmanager.ini")))
        link = Link(folder / "run" / "vmmanager.sock", answer_s=START_S)
        wait(lambda: (folder / "run" / "vmmanager.sock").exists() and link.ask("status")["leading"], "the manager leads")
        share = -(-hosts // CLIENT_PROCESSES)
        for first in range(0, hosts, share):
            stack.enter_context(_clients(address[1], first, min(share, hosts - first), simulated, keys))
        wait(lambda: _ready(link) == hosts, f"{hosts} hosts have told what they have")
        yield Farm(link, psutil.Process(manager.pid), simulated)


def _clients(port: int, first: int, count: int, simulated: Path, keys: Path) -> contextlib.AbstractContextManager[Any]:
    return daemon(
        "bench.vmclients",
        *("--daemon", f"{port}@127.0.0.1", "--first", str(first), "--count", str(count)),
        *("--farm", str(simulated), "--local-keys", str(keys)),
        stdout=subprocess.DEVNULL,
    )


def _ready(link: Link) -> int:
    return sum(1 for row in link.ask("hosts") if row["why"] is None)


def measured(made: Farm, what: str, op: str, args: dict[str, Any], expected: int) -> None:
    """One operation from the asking to its end, and what the manager used for it."""
    before, started = made.manager.cpu_times(), time.monotonic()
    changes: Counter[str] = Counter()
    result = made.link.ask(op, args, on_more=lambda piece: changes.update([str(piece.get("state"))]), patient=True)
    took, after = time.monotonic() - started, made.manager.cpu_times()
    cpu = after.user + after.system - before.user - before.system
    done, failed = len(result["done"]), result["failed"]
    if done != expected or failed:
        raise SystemExit(f"{what}: {done} of {expected} done, {len(failed)} failed: {sorted(failed.items())[:3]}")
    print(
        f"{what:<28} {done:>6} {took:>8.2f} s {done / took:>8.0f}/s {cpu:>8.2f} s {1e3 * cpu / done:>8.2f} ms"
        f" {made.manager.memory_info().rss / 1e6:>7.0f} MB",
        flush=True,
    )


def check(made: Farm, expected: int) -> None:
    found = made.domains()
    if len(found) != expected or any(count != 1 for count in found.values()):
        raise SystemExit(f"{len(found)} VMs are on the hosts, {expected} should be: {found.most_common(3)}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--vms", type=int, default=1000)
    options.add_argument("--hosts", type=int, default=50)
    options.add_argument("--quick", action="store_true", help="30 VMs on 4 hosts, to see that it works")
    given = options.parse_args()
    vms, hosts = (30, 4) if given.quick else (given.vms, given.hosts)
    print(f"{machine()}\n\n{vms} VMs on {hosts} simulated hosts, the manager's own cost for all and for each")
    print(f"{'':<28} {'VMs':>6} {'time':>10} {'rate':>10} {'CPU':>10} {'each':>11} {'RSS':>10}")
    with farm(vms, hosts) as made:
        measured(made, "vm start all", "vm-start", {"names": ["all"]}, vms)
        check(made, vms)
        measured(made, "vm stop --now all", "vm-stop", {"names": ["all"], "now": True}, vms)
        check(made, 0)


if __name__ == "__main__":
    main()
