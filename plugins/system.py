"""Readers of the machine itself: ram, cpu, load, disk, net, uptime, process, file, users, temperature.

Values come from /proc and psutil; fields keep the names they have there. cpu and the rates of net are averages since the
previous read by the same process; the first read looks twice, a moment apart. psutil is loaded by the first reader that needs
it, because a worker without it is 2 MB smaller.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from common.plugin import Measured, Unknown, reader
from common.value import Value

if TYPE_CHECKING:
    import psutil

APART_S = 0.2  # two looks closer together than this say more about chance than about the machine
MEMINFO = Path("/proc/meminfo")
STAT = Path("/proc/stat")
NET_DEV = Path("/proc/net/dev")
CPU_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")

Looking = Callable[[], dict[str, float]]
Look = tuple[float, dict[str, float]]

_looks: dict[str, list[Look]] = {}  # what -> the last two looks, each with its time


@reader("ram", unit="KiB")
def ram(field: str = "MemFree") -> int:
    """One field of /proc/meminfo under its name there, in KiB as there: MemTotal, MemFree, MemAvailable, ..."""
    fields = meminfo(MEMINFO.read_text(encoding="ascii", errors="replace"))
    if field not in fields:
        raise Unknown(f"/proc/meminfo has no field {field}; there are: {', '.join(fields)}")
    return fields[field]


def meminfo(text: str) -> dict[str, int]:
    """The text of /proc/meminfo by field; proc(5). KiB, but for the counts of HugePages_."""
    fields: dict[str, int] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            fields[name.strip()] = int(words[0])
    return fields


@reader("cpu", unit="%")
def cpu(field: str = "percent") -> float:
    """Share of all CPUs' time: percent (all but idle and iowait), or only user, system, idle, iowait, steal, irq, nice, ..."""
    before, now = two_looks("cpu", lambda: cpu_times(STAT.read_text(encoding="ascii", errors="replace")))
    spent = {name: max(0.0, now[1][name] - before[1].get(name, 0.0)) for name in now[1]}
    for name, within in (("guest", "user"), ("guest_nice", "nice")):  # the kernel counts these twice; proc(5)
        if name in spent:
            spent[within] = max(0.0, spent.get(within, 0.0) - spent[name])
    total = sum(spent.values())
    if total <= 0:
        raise Unknown("no time has passed since the last read")
    spent["percent"] = total - spent.get("idle", 0.0) - spent.get("iowait", 0.0)
    spent["busy"] = spent["percent"]  # the name that other tools use
    if field not in spent:
        raise Unknown(f"no field {field}; there are: {', '.join(sorted(spent))}")
    return round(100.0 * spent[field] / total, 2)


def cpu_times(text: str) -> dict[str, float]:
    """The first line of /proc/stat: clock ticks of all CPUs since boot by kind; proc(5)."""
    line = next((line for line in text.splitlines() if line.startswith("cpu ")), "")
    return dict(zip(CPU_FIELDS, map(float, line.split()[1:]), strict=False))


@reader("load")
def load(minutes: Literal[1, 5, 15] = 1, per_cpu: bool = False) -> float:
    """Load average over 1, 5 or 15 minutes; `per_cpu`: divided by the number of CPUs."""
    average = os.getloadavg()[{1: 0, 5: 1, 15: 2}[minutes]]
    return round(average / (os.cpu_count() or 1), 3) if per_cpu else average


@reader("disk")
def disk(
    path: str = "/",
    field: Literal["total", "used", "free", "percent", "inodes_total", "inodes_free", "inodes_percent"] = "percent",
) -> Measured:
    """The file system that holds `path`, in bytes or percent used; `free` is what a user may still fill, as df says."""
    try:
        fact = os.statvfs(path)
    except OSError as fault:
        raise Unknown(f"{path}: {fault.strerror}") from None
    if field.startswith("inodes_"):
        total, free, available, size = fact.f_files, fact.f_ffree, fact.f_favail, 1
    else:
        total, free, available, size = fact.f_blocks, fact.f_bfree, fact.f_bavail, fact.f_frsize
    used = total - free
    if field.endswith("percent"):
        if used + available <= 0:
            raise Unknown(f"{path}: a file system without {'inodes' if 'inodes' in field else 'size'}")
        return Measured(round(100.0 * used / (used + available), 2), "%")
    value = {"total": total, "used": used, "free": available}[field.removeprefix("inodes_")] * size
    return Measured(value, "" if field.startswith("inodes_") else "B")


NetField = Literal[
    "bytes_sent", "bytes_recv", "packets_sent", "packets_recv", "errin", "errout", "dropin", "dropout",
    "rate_sent", "rate_recv", "up", "speed", "address",
]  # fmt: skip


@reader("net")
def net(interface: str = "", field: NetField = "rate_recv") -> Measured:
    """Counters since boot, rates in bytes per second, `up`, `speed` in Mbit/s, IPv4 `address`. No interface: all but lo."""
    if field in ("up", "speed", "address"):
        return _link(interface, field)
    if field.startswith("rate_"):
        counter = {"rate_sent": "bytes_sent", "rate_recv": "bytes_recv"}[field]
        before, now = two_looks(f"net {interface}", lambda: _counters(interface))
        passed_s = now[0] - before[0]
        if passed_s <= 0 or now[1][counter] < before[1][counter]:
            raise Unknown("the counter was set back")
        return Measured(round((now[1][counter] - before[1][counter]) / passed_s, 1), "B/s")
    return Measured(int(_counters(interface)[field]), "B" if field.startswith("bytes") else "")


def _counters(interface: str) -> dict[str, float]:
    every = net_dev(NET_DEV.read_text(encoding="utf-8", errors="replace"))
    if interface and interface not in every:
        raise Unknown(f"no interface {interface}; there are: {', '.join(sorted(every))}")
    chosen = [counters for name, counters in every.items() if (name == interface if interface else name != "lo")]
    if not chosen:
        raise Unknown("no interface but lo")
    return {name: sum(one[name] for one in chosen) for name in chosen[0]}


def net_dev(text: str) -> dict[str, dict[str, float]]:
    """/proc/net/dev by interface; names as psutil has them. proc(5): 8 counters of what was received, 8 of what was sent."""
    every: dict[str, dict[str, float]] = {}
    for line in text.splitlines():
        name, colon, rest = line.rpartition(":")
        numbers = rest.split()
        if colon and len(numbers) >= 16:
            received, sent = numbers[:4], numbers[8:12]
            values = map(float, (*received, *sent))
            names = ("bytes_recv", "packets_recv", "errin", "dropin", "bytes_sent", "packets_sent", "errout", "dropout")
            every[name.strip()] = dict(zip(names, values, strict=True))
    return every


def _link(interface: str, field: str) -> Measured:
    import psutil

    links = psutil.net_if_stats()
    if interface not in links:
        raise Unknown(f"no interface {interface or 'given'}; there are: {', '.join(sorted(links))}")
    if field == "address":
        found = [one.address for one in psutil.net_if_addrs().get(interface, []) if one.family.name == "AF_INET"]
        if not found:
            raise Unknown(f"{interface} has no IPv4 address")
        return Measured(found[0], "")
    if field == "up":
        return Measured(links[interface].isup, "")
    if links[interface].speed <= 0:
        raise Unknown(f"{interface} does not say its speed")
    return Measured(links[interface].speed, "Mbit/s")


@reader("uptime", unit="s")
def uptime() -> int:
    """Whole seconds since boot; sleep counts."""
    return int(float(Path("/proc/uptime").read_text(encoding="ascii").split()[0]))


ProcessField = Literal["count", "rss", "cpu_seconds", "age", "threads", "pids"]


@reader("process")
def process(name: str, field: ProcessField = "count", match: Literal["name", "command"] = "name") -> Measured:
    """Processes called `name` (or whose command line holds it: match = command). Sums over all; `age` is that of the oldest.

    count is 0 where there is none; the other fields are unknown then."""
    import psutil

    found = [one for one in psutil.process_iter() if _matches(one, name, match)]
    if field == "count":
        return Measured(len(found), "")
    values: list[float] = []
    for one in found:
        try:
            values.append(_of_process(one, field))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    if not values:
        raise Unknown(f"no process {name}" if not found else f"not allowed to look into {name}")
    if field == "pids":
        pids: list[Value] = [*sorted(int(value) for value in values)]
        return Measured(pids, "")
    value = max(values) if field == "age" else sum(values)
    whole = field in ("rss", "threads")
    return Measured(int(value) if whole else round(value, 2), {"rss": "B", "cpu_seconds": "s", "age": "s"}.get(field, ""))


def _matches(one: psutil.Process, name: str, match: str) -> bool:
    import psutil

    try:
        if match == "command":
            return name in " ".join(one.cmdline()) and one.pid != os.getpid()
        return one.name() == name
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _of_process(one: psutil.Process, field: str) -> float:
    if field == "rss":
        return float(one.memory_info().rss)
    if field == "cpu_seconds":
        times = one.cpu_times()
        return float(times.user + times.system)
    if field == "threads":
        return float(one.num_threads())
    if field == "age":
        return max(0.0, time.time() - one.create_time())
    return float(one.pid)


FileField = Literal["exists", "kind", "size", "age", "mtime", "mode", "owner", "links"]


@reader("file")
def file(path: str, field: FileField = "exists") -> Measured:
    """One fact of a file: `age` and `mtime` of its last change in s, `mode` as octal text, `owner`. Links are followed."""
    try:
        fact = os.stat(path)
    except OSError as fault:
        if field == "exists" and isinstance(fault, (FileNotFoundError, NotADirectoryError)):
            return Measured(False, "")
        raise Unknown(f"{path}: {fault.strerror}") from None
    if field in ("size", "age", "mtime"):
        value = {"size": fact.st_size, "age": round(time.time() - fact.st_mtime, 3), "mtime": fact.st_mtime}[field]
        return Measured(value, "B" if field == "size" else "s")
    return Measured({"exists": True, "links": fact.st_nlink}.get(field, _described(fact, field)), "")


def _described(fact: os.stat_result, field: str) -> str:
    if field == "mode":
        return f"{stat.S_IMODE(fact.st_mode):04o}"
    if field == "owner":
        import pwd  # only here, so that a worker that never asks for it stays small

        try:
            return pwd.getpwuid(fact.st_uid).pw_name
        except KeyError:
            return str(fact.st_uid)
    return _KINDS.get(stat.S_IFMT(fact.st_mode), "other")


_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFSOCK: "socket",
    stat.S_IFIFO: "pipe",
    stat.S_IFBLK: "block device",
    stat.S_IFCHR: "character device",
}


@reader("users")
def users(field: Literal["count", "names"] = "count") -> Value:
    """Who is logged in (utmp): how many sessions, or the different names."""
    import psutil

    sessions = psutil.users()
    if field == "count":
        return len(sessions)
    names: list[Value] = [*sorted({one.name for one in sessions})]
    return names


@reader("temperature", unit="°C")
def temperature(sensor: str = "", field: Literal["current", "high", "critical"] = "current") -> float:
    """The hottest sensor whose chip or label holds `sensor` (all where it is empty); unknown where the machine has none."""
    import psutil

    every = psutil.sensors_temperatures()
    readings = [
        getattr(one, field) for chip, ones in every.items() for one in ones if sensor.lower() in f"{chip} {one.label}".lower()
    ]
    found = [float(value) for value in readings if value is not None]
    if not found:
        raise Unknown(f"no sensor gives {field}; there are: {', '.join(sorted(every)) or 'none'}")
    return max(found)


def two_looks(what: str, look: Looking) -> tuple[Look, Look]:
    """An earlier look and one of now, each with its monotonic time, at least APART_S apart; waits for that if it must."""
    now = (time.monotonic(), look())
    looks = _looks.get(what, [now])
    if now[0] - looks[0][0] < APART_S:
        time.sleep(APART_S)
        now = (time.monotonic(), look())
    earlier = next(one for one in reversed(looks) if now[0] - one[0] >= APART_S)
    _looks[what] = [earlier, now]
    return earlier, now
