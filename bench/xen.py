"""Real Xen in emulation: `python -m bench.xen`. What a start through vmherd costs beside `xl create` by hand, and what it costs
to list 20 domains every 10 s. Needs what the Xen lab needs (docs/xenlab.md); takes about six minutes.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.bus import machine
from provision.programs import NotToBeHad
from xenlab import images, network, remote
from xenlab.commandline import MISSING, say
from xenlab.kinds import Kind
from xenlab.lab import Lab

ROUNDS = 5
DOMAINS = 20
TICKS_S = 10
LISTED_S = 60
MEMORY_MIB = 4096
STEP_S = 240.0
ADDRESS = network.domain_address(1)
BY_HAND = "/root/web1.cfg"
PINGS = f"until busybox ping -c 1 -W 1 {ADDRESS} >/dev/null 2>&1; do :; done"
MANY = f"""\
for n in $(seq {DOMAINS}); do
  echo "name='many$n'; type='pvh'; kernel='$(ls -d /srv/images/tiny/*/)kernel'; memory=96; vcpus=1" | tr ';' '\\n' >/root/m.cfg
  xl create -p /root/m.cfg >/dev/null || exit 1
done; xl list | tail -n +3 | wc -l"""
# user and system time of the client with all that has ended below it, and of its workers with theirs: proc(5), fields 14 to 17
USED = """\
client=$(cat /run/vmherd-client/vmclient.pid)
cat /proc/[0-9]*/stat 2>/dev/null |
  awk -v client="$client" '$1 == client || $4 == client { used += $14 + $15 + $16 + $17 } END { print used }'"""
BARE = "s=${EPOCHREALTIME/./}; for i in 1 2 3 4 5; do xl list -v >/dev/null; done; echo $(((${EPOCHREALTIME/./} - s) / 5))"
HERTZ = 100.0  # of Debian's kernels, as proc(5) counts


def main() -> int:
    if why := images.missing():
        print(f"bench.xen: {why}", file=sys.stderr)
        return MISSING
    try:
        built = images.build(say)
        network.enter()
    except NotToBeHad as fault:
        print(f"bench.xen: {fault}", file=sys.stderr)
        return MISSING
    with (
        tempfile.TemporaryDirectory(prefix="vmherd-bench-") as folder,
        Lab(Path(folder), built, Kind(hosts=1, memory_mib=MEMORY_MIB), say) as lab,
    ):
        lab.up()
        lab.processes.wait("the host has told what it has", lambda: lab.ask("host", "list")[0]["cpus"], STEP_S)
        print(machine())
        if "--list" not in sys.argv:
            _starts(lab)
        _listing(lab)
    return 0


def _starts(lab: Lab) -> None:
    rendered = lab.ask("vm", "render", "web1")["text"]
    _in(lab, f"cat >{BY_HAND} <<'EOF'\n{rendered}\nEOF")
    by_hand, through = [], []
    for _ in range(ROUNDS):  # in turns, so that the machine's moods meet both
        by_hand.append(_timed(lab, lambda: _in(lab, f"xl create {BY_HAND}")))
        _in(lab, "xl destroy web1")
        lab.processes.wait("its end is seen", lambda: _gone(lab), STEP_S)
        through.append(_timed(lab, lambda: lab.ask("vm", "start", "web1")))
        lab.ask("vm", "stop", "--now", "web1", "-y")
    first, second = statistics.median(by_hand), statistics.median(through)
    print(f"\nto the first ping, median of {ROUNDS}, s")
    print(f"  xl create by hand   {first:6.2f}   {min(by_hand):.2f}..{max(by_hand):.2f}")
    print(f"  vmctl vm start      {second:6.2f}   {min(through):.2f}..{max(through):.2f}")
    print(f"  ratio               {second / first:6.2f}   goal 1.2")


def _gone(lab: Lab) -> bool:
    return bool(lab.ask("vm", "show", "web1")["state"] == "stopped")


def _timed(lab: Lab, start: Callable[[], object]) -> float:
    began = time.monotonic()
    start()
    _in(lab, PINGS)
    return time.monotonic() - began


def _listing(lab: Lab) -> None:
    print(f"\n{_in(lab, MANY).strip()} domains, paused, {_in(lab, 'xl list -v | wc -c').strip()} bytes in a list")
    bare_s = float(_in(lab, BARE)) / 1e6
    _in(lab, f"sed -i 's/^ticks = 3$/ticks = {TICKS_S}/' /etc/vmherd/vmclient.ini")
    lab.ask("control", "reload", "--on", lab.names[0], "-y")
    time.sleep(TICKS_S)
    before = float(_in(lab, USED))
    time.sleep(LISTED_S)
    used_s = (float(_in(lab, USED)) - before) / HERTZ
    share, each_s = 100 * used_s / LISTED_S, used_s / (LISTED_S / TICKS_S)
    print(f"  vmclient, its workers and xl: {share:.2f} % of the emulated core, {each_s:.2f} s for each {TICKS_S} s")
    print(f"  `xl list -v` by hand takes {bare_s:.2f} s: ratio {each_s / bare_s:.1f}, with `xl info` and all else")


def _in(lab: Lab, command: str) -> str:
    done = remote.run(lab.guests[lab.names[0]].agent, command, limit_s=STEP_S)
    if done.status:
        raise SystemExit(f"{command}: {done.status}: {done.output}")
    return done.output


if __name__ == "__main__":
    sys.exit(main())
