"""The watchdog of the kernel, emulated: a file for the device, and a driver that takes the same requests."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from vmclient.guard_events import Watched
from vmclient.watchdog import GETTIMEOUT, HURRY_S, KEEPALIVE, SETTIMEOUT, Device, NoWatchdog, device_of


class Driver:
    """`keeps`: the times it can keep, in seconds; None: any. `broken`: it answers no more."""

    def __init__(self, path: Path, keeps: range | None = None) -> None:
        self.path = path
        path.write_bytes(b"")
        self.keeps = keeps
        self.timeout = 60
        self.fed = 0
        self.broken = False
        self.now = 100.0
        self.device = Device(path, self.ioctl, lambda: self.now)

    def ioctl(self, file: int, request: int, argument: bytes) -> bytes:
        if self.broken:
            raise OSError(5, "Input/output error")
        (value,) = struct.unpack("i", argument)
        if request == SETTIMEOUT:
            if self.keeps is not None and value not in self.keeps:
                raise OSError(22, "Invalid argument")
            self.timeout = value
        self.fed += request == KEEPALIVE
        return struct.pack("i", self.timeout if request in (SETTIMEOUT, GETTIMEOUT) else value)

    @property
    def is_released(self) -> bool:
        return self.path.read_bytes().endswith(b"V")


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(tmp_path / "watchdog")


def test_it_is_armed_for_the_time_that_the_leader_wants_fed_and_released(driver: Driver) -> None:
    assert driver.device.arm(7.5) == Watched(str(driver.path), 8.0, armed=True)
    assert driver.timeout == 8
    fed = driver.fed
    assert driver.device.feed(driver.now + 1) is None
    assert driver.fed == fed + 1
    assert not driver.is_released
    assert driver.device.release() == Watched(str(driver.path), 8.0, armed=False)
    assert driver.is_released


def test_a_look_at_it_leaves_it_released(driver: Driver) -> None:
    assert driver.device.probe(8.0) == Watched(str(driver.path), 8.0, armed=False)
    assert driver.is_released


def test_a_device_with_a_time_of_its_own_says_so(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "watchdog", keeps=range(30, 120))
    assert driver.device.arm(8.0).timeout_s == 60.0


def test_what_was_fed_too_late_gives_the_host_no_more_time(driver: Driver) -> None:
    driver.device.arm(8.0)
    assert driver.device.feed(driver.now - 0.1) == Watched(str(driver.path), float(HURRY_S), armed=True)
    assert driver.timeout == HURRY_S


def test_a_device_that_fails_is_none(driver: Driver) -> None:
    driver.device.arm(8.0)
    driver.broken = True
    told = driver.device.feed(driver.now + 1)
    assert told == Watched(f"{driver.path}: Input/output error", 0.0, armed=False)
    driver.broken = False
    assert driver.device.arm(8.0).armed


def test_a_device_that_is_not_there_is_none(tmp_path: Path) -> None:
    told = Device(tmp_path / "none").probe(8.0)
    assert (told.timeout_s, told.armed) == (0.0, False)
    assert "No such file" in told.text


def test_which_one_the_file_names() -> None:
    assert isinstance(device_of("none"), NoWatchdog)
    assert isinstance(device_of("/dev/watchdog1"), Device)
