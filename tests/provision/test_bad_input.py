"""What is wrong with the input or goes wrong on the way: one clear error, and what was there before is what is there."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.provision.given import kernel_image
from tests.provision.tool import ASIDE, Tool
from xenlab.images import CACHE

WAIT_S = 60.0
DISK = "2m"
MANY = 5000  # files, that take a while to write


def faults(said: str) -> list[str]:
    return [line for line in said.splitlines() if ": building (" not in line]


WRONG = (
    ("mac = 52:54:00:00:00:02", "mac = 52:54:00:00:00:01", "29: [xen2] mac: the MAC 52:54:00:00:00:01 belongs to xen1 already"),
    ("address = 10.77.0.12", "address = 10.99.0.12", "30: [xen2] address: 10.99.0.12 lies outside lab, 10.77.0.0/24"),
    ("address = 10.77.0.12", "address = 10.77.0.11", "30: [xen2] address: the address 10.77.0.11 belongs to xen1 already"),
)


def test_an_inventory_that_is_wrong(written: Tool) -> None:
    before, good = written.everything(), written.ini.read_text()
    for old, new, fault in WRONG:
        written.change(old, new)
        for command in ("build", "write"):
            assert written.run(command, code=2) == f"{written.ini}:{fault}\n1 fault\n"
        written.ini.write_text(good)
    assert written.everything() == before


@pytest.mark.parametrize(
    ("elf", "fault"),
    [
        (b"\x7fELF nothing", "the kernel was built without Xen support (CONFIG_XEN)"),
        (b"plain", "what was unpacked is no ELF image"),
    ],
)
def test_a_kernel_that_xen_cannot_start(written: Tool, elf: bytes, fault: str) -> None:
    before = written.everything()
    (written.folder / "vmlinuz").write_bytes(kernel_image(elf))
    (said,) = faults(written.run("build", "--no-grub", "ram", code=1))
    assert said.startswith("vmprovision: ")
    assert said.endswith(fault)
    assert written.everything() == before


def test_a_kernel_without_nfs_where_the_root_is_there(written: Tool) -> None:
    before = written.everything()
    builtin = next(written.folder.glob("root/lib/modules/*/modules.builtin"))
    builtin.write_text(builtin.read_text().replace("kernel/nfsv4.ko\n", ""))
    said = faults(written.run("build", "--no-grub", "shared", code=1))
    assert said == ["vmprovision: the kernel 6.1.0-test has no module nfsv4"]
    assert written.everything() == before
    written.build("ram")


@pytest.mark.slow
def test_a_package_that_does_not_exist(written: Tool) -> None:
    if not shutil.which("apt-get"):
        pytest.skip("the program apt-get is missing")
    before = written.everything()
    written.change("[hosts]", "[[more]]\npackages = nosuchpackage,\n[hosts]")
    said = faults(written.run("--cache", str(CACHE), "build", "--no-grub", "more", code=1))
    assert said == ["vmprovision: apt-get download: E: Unable to locate package nosuchpackage"]
    assert written.everything() == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Tool]:
    """The target folder is a file system of its own, in a namespace of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    tool = Tool(tmp_path)
    tool.target.mkdir()
    script = f"mount -t tmpfs -o size={DISK} boot {tool.target} && echo mounted && exec sleep infinity"
    with subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE, text=True) as holder:
        try:
            if not holder.stdout or holder.stdout.readline() != "mounted\n":
                pytest.skip("nothing can be mounted here")
            inside = Tool(tmp_path, ("nsenter", "--mount", "--target", str(holder.pid)))
            inside.target = Path(f"/proc/{holder.pid}/root{tool.target}")
            yield inside
        finally:
            holder.kill()


def test_a_disk_that_is_full_in_the_middle_of_a_build(small_disk: Tool) -> None:
    small_disk.build()
    small_disk.run("write")
    before = small_disk.everything()
    large = small_disk.folder / "root" / "etc" / "large"
    large.write_bytes(os.urandom(3_000_000))
    for profile in ("ram", "shared"):
        (said,) = faults(small_disk.run("build", "--no-grub", profile, code=1))
        assert said.endswith(f"{os.strerror(errno.ENOSPC)}; the builds before are untouched")
        assert small_disk.everything() == before
        assert not list(small_disk.target.rglob(f"{ASIDE}*"))
    large.write_bytes(os.urandom(100_000))
    assert "is new" in small_disk.build()


def test_a_disk_that_is_full_when_boot_files_are_written(written: Tool) -> None:
    before = written.everything()
    written.change("subnet = 10.77.0.0/24", "subnet = 10.77.0.0/24\ndns = 10.77.0.1")
    assert "nothing was changed" in written.run("write", code=1, file_bytes_max=500)
    assert written.everything() == before


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_build_that_is_interrupted(written: Tool, number: signal.Signals) -> None:
    before = written.everything()
    many = written.folder / "root" / "opt"
    many.mkdir()
    for name in range(MANY):
        (many / str(name)).write_text(f"{name}\n")
    process = written.start("build", "--no-grub", "shared")
    above = written.target / "nfs" / "shared"
    end = time.monotonic() + WAIT_S
    while not list(above.glob(f"{ASIDE}*/opt/0")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.001)
    process.send_signal(number)
    said, _ = process.communicate(timeout=WAIT_S)
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130
        assert faults(said) == ["vmprovision: interrupted; what was there before is untouched"]
        assert not list(above.glob(f"{ASIDE}*"))
    assert written.everything() == before
    assert written.run("write") == f"{written.target}: nothing to change\n"
    written.build("shared")
    assert not list(written.target.rglob(f"{ASIDE}*"))
    assert len(list(above.glob("*/opt/*"))) == MANY
    for sums in (written.target / "boot" / "images" / "shared").glob("*/root"):
        checked = subprocess.run(["sha256sum", "--quiet", "-c", str(sums)], cwd=above / sums.parent.name, check=False)
        assert checked.returncode == 0


def test_what_a_killed_write_left_goes_with_the_next(written: Tool) -> None:
    leftover = written.target / "boot" / "hosts" / f"{ASIDE}x"
    leftover.write_text("half of it")
    written.change("subnet = 10.77.0.0/24", "subnet = 10.77.0.0/24\ndns = 10.77.0.1")
    written.run("write")
    assert not leftover.exists()


def test_a_root_that_hosts_run_is_never_written_again(written: Tool) -> None:
    def state() -> dict[str, tuple[int, int, int]]:
        folders = (written.target / "nfs", written.target / "boot" / "images")
        found = {path: path.lstat() for folder in folders for path in folder.rglob("*") if not path.is_dir()}
        return {str(path): (one.st_ino, one.st_mtime_ns, one.st_mode) for path, one in found.items()}

    before = state()
    menus = {mac: written.menu(mac) for mac in ("52:54:00:00:00:01", "52:54:00:00:00:02")}
    for number in range(6):  # more than are kept of what nobody runs
        (written.folder / "root" / "etc" / "motd").write_text(f"{number}\n")
        written.build()
        written.run("write")
    after = state()
    assert {path: after[path] for path in before} == before
    assert {mac: written.menu(mac) for mac in menus} == menus


def test_a_link_or_a_mode_makes_another_root(written: Tool) -> None:
    daemon = written.folder / "root" / "bin" / "daemon"
    daemon.chmod(0o700)
    assert "is new" in written.build("shared")
    (written.folder / "root" / "bin" / "d").symlink_to("daemon")
    assert "is new" in written.build("shared")
    assert "is there already" in written.build("shared")


@pytest.mark.parametrize(("profile", "path"), [("ram", "boot/images/ram/*/root"), ("shared", "nfs/shared/*/usr/bin/daemon")])
def test_a_root_that_was_changed_by_hand_is_told_and_left_as_it_is(written: Tool, profile: str, path: str) -> None:
    (damaged,) = written.target.glob(path)
    damaged.write_bytes(b"somebody was here")
    (said,) = faults(written.run("build", "--no-grub", profile, code=1))
    assert said.startswith(f"vmprovision: {damaged}: changed or damaged since it was built, hosts refuse to boot from it")
    assert damaged.read_bytes() == b"somebody was here"
