"""The readers of the machine, against this machine and against recorded files of others."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest

from common.plugin import Measured, Unknown
from plugins import system


def value(given: Measured | object) -> object:
    return given.value if isinstance(given, Measured) else given


def test_ram_has_every_field_of_proc_meminfo_in_kib() -> None:
    assert system.ram("MemTotal") * 1024 == psutil.virtual_memory().total
    assert 0 < system.ram() <= system.ram("MemTotal")
    for line in Path("/proc/meminfo").read_text().splitlines():
        assert system.ram(line.partition(":")[0]) >= 0
    with pytest.raises(Unknown, match="no field Free; there are: MemTotal"):
        system.ram("Free")


def test_cpu_shares_are_percentages_that_add_up() -> None:
    whole = system.cpu()
    assert 0 <= whole <= 100
    time.sleep(system.APART_S)
    every = {name: system.cpu(name) for name in ("user", "nice", "system", "irq", "softirq", "steal", "idle", "iowait")}
    assert all(0 <= share <= 100 for share in every.values())
    with pytest.raises(Unknown, match="there are: "):
        system.cpu("lazy")


def test_cpu_counts_guests_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """proc(5): guest time is in user time as well."""
    texts = iter(("cpu  0 0 0 0 0 0 0 0 0 0\n", "cpu  50 0 0 50 0 0 0 0 50 0\n"))
    looks = [(time.monotonic(), system.cpu_times(next(texts))), (time.monotonic(), system.cpu_times(next(texts)))]
    monkeypatch.setattr(system, "two_looks", lambda what, look: (looks[0], looks[1]))
    assert system.cpu() == 50.0
    assert (system.cpu("user"), system.cpu("guest"), system.cpu("idle")) == (0.0, 50.0, 50.0)


def test_load() -> None:
    assert abs(system.load(15) - os.getloadavg()[2]) < 2
    assert system.load(15, per_cpu=True) <= system.load(15) + 0.001


def test_disk_says_what_df_says() -> None:
    usage = psutil.disk_usage("/")
    assert system.disk("/", "total") == Measured(usage.total, "B")
    assert abs(float(str(value(system.disk()))) - usage.percent) < 2
    assert system.disk("/proc/self/../..", "free").unit == "B"
    with pytest.raises(Unknown, match="/nowhere: No such file or directory"):
        system.disk("/nowhere")
    with pytest.raises(Unknown, match="without size"):
        system.disk("/proc")


def test_net_counters_are_those_psutil_sees() -> None:
    counters = system.net_dev(system.NET_DEV.read_text())
    names = psutil.net_io_counters(pernic=True)
    assert set(counters) == set(names)
    before = names["lo"]
    for field in ("bytes_sent", "packets_recv", "errin", "dropout"):
        got = value(system.net("lo", field))
        assert isinstance(got, int)
        assert got >= getattr(before, field)
    assert system.net("lo", "address").value == "127.0.0.1"
    assert system.net("lo", "rate_recv").unit == "B/s"
    with pytest.raises(Unknown, match="no interface eth99; there are: "):
        system.net("eth99")


def test_net_dev_of_another_machine() -> None:
    text = (
        "Inter-|   Receive  |  Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes\n"
        "  eth0:1234567890 100 1 2 0 0 0 0 987 50 3 4 0 0 0 0\n"
        "vif1.0:       5       1    0    0    0     0     0     0      6       2    0    0    0     0    0     0\n"
    )
    every = system.net_dev(text)
    assert every["eth0"]["bytes_recv"] == 1234567890
    assert (every["eth0"]["errin"], every["eth0"]["dropout"]) == (1, 4)
    assert every["vif1.0"]["bytes_sent"] == 6


def test_uptime_grows_from_boot() -> None:
    assert abs(system.uptime() - (time.time() - psutil.boot_time())) < 10


def test_process_counts_and_sums() -> None:
    me = psutil.Process()
    name = me.name()
    count = value(system.process(name))
    assert isinstance(count, int)
    assert count >= 1
    pids = value(system.process(name, "pids"))
    assert isinstance(pids, list)
    assert me.pid in pids
    rss = value(system.process(name, "rss"))
    assert isinstance(rss, int)
    assert rss > 1_000_000
    assert value(system.process("no such process")) == 0
    with pytest.raises(Unknown, match="no process"):
        system.process("no such process", "rss")


def test_file_facts(tmp_path: Path) -> None:
    path = tmp_path / "f"
    assert value(system.file(str(path))) is False
    with pytest.raises(Unknown, match="No such file"):
        system.file(str(path), "size")
    path.write_text("12345")
    path.chmod(0o640)
    os.utime(path, (time.time() - 100, time.time() - 100))
    facts = {field: value(system.file(str(path), field)) for field in ("exists", "size", "mode", "kind", "links")}
    assert facts == {"exists": True, "size": 5, "mode": "0640", "kind": "file", "links": 1}
    age = value(system.file(str(path), "age"))
    assert isinstance(age, float)
    assert 99 < age < 130
    assert value(system.file("/", "owner")) == "root"
    assert value(system.file("/dev/null", "kind")) == "character device"


def test_users_and_temperature_are_values_or_unknown_never_zero_for_missing() -> None:
    assert isinstance(system.users("names"), list)
    assert isinstance(system.users(), int)
    if psutil.sensors_temperatures():
        assert -50 < system.temperature() < 150
    else:
        with pytest.raises(Unknown, match="no sensor gives current"):
            system.temperature()


def test_two_looks_are_never_too_close_together_and_reach_back_to_the_last_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(system, "_looks", {})
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))

    def apart() -> float:
        before, now = system.two_looks("x", lambda: {"n": clock[0]})
        assert now[0] == clock[0]
        return round(now[0] - before[0], 6)

    assert apart() == 0.2  # the first look of all
    clock[0] += 0.001
    assert apart() == 0.201  # the next field of the same burst does not wait again
    clock[0] += 60
    assert apart() == 60
    clock[0] += 0.001
    assert apart() == 60.001
