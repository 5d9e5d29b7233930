"""vmprovision from the command line, on a root that is given: what is written, what is left alone, what is refused."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from provision import cpio
from tests.provision.tool import Tool


def test_check_says_what_there_is(tool: Tool) -> None:
    assert tool.run("check") == f"{tool.ini}: good: 2 networks, 2 profiles, 2 hosts, 1 gateway, no images\n"
    tool.ini.write_text(tool.ini.read_text().replace("profile = shared", "profile = shred"))
    assert tool.run("check", code=2) == (
        f"{tool.ini}:31: [xen2] profile: 'shred': no such profile (did you mean shared?)\n1 fault\n"
    )
    assert not tool.target.exists()


def test_nothing_is_written_before_something_was_built(tool: Tool) -> None:
    assert "profile ram was never built" in tool.run("write", code=1)
    assert not (tool.target / "boot").exists()


def test_a_dry_run_writes_nothing_and_says_what_a_run_then_does(tool: Tool) -> None:
    tool.build()
    before = tool.everything()
    dry = tool.run("write", "--dry-run", "--diff")
    assert tool.everything() == before
    wet = tool.run("write", "--diff")
    assert dry == wet + "nothing was written (--dry-run)\n"
    assert "+dhcp-host=52:54:00:00:00:01,10.77.0.11,xen1,infinite" in wet
    assert tool.run("write") == f"{tool.target}: nothing to change\n"


def test_the_same_input_gives_the_same_bytes(tool: Tool, tmp_path: Path) -> None:
    for one in (tool, other := Tool(tmp_path / "other")):
        one.build()
    images = {path: digest for path, digest in tool.everything().items() if "/images/" in path}
    assert images
    assert images == {path: digest for path, digest in other.everything().items() if "/images/" in path}
    assert "is there already" in tool.build()


def test_a_host_boots_what_was_built_with_the_checksums_of_what_lies_there(tool: Tool) -> None:
    tool.build()
    tool.run("write")
    menu = tool.menu("52:54:00:00:00:01")
    words = dict(re.findall(r"vmherd\.(\w+)=([^\s;]+)", menu))
    for path, wanted in ((words["image"], words["sum"]), (words["layer"], words["layersum"])):
        assert hashlib.sha256((tool.target / "boot" / path).read_bytes()).hexdigest() == wanted
    assert re.search(r"multiboot2 \(http,10\.77\.0\.1\)/images/ram/\w+/xen dom0_mem=1G,max:1G; then\n", menu)
    assert (words["address"], words["bridge"], words["root"]) == ("10.77.0.11/24", "xenbr0", "ram")
    assert menu.index("multiboot2") < menu.index('menuentry "the local disk"')
    own = cpio.read((tool.target / "boot" / words["layer"]).read_bytes())
    assert b"VLANS=12=xenbr0.12\n" in own.read("etc/vmherd-image/host")
    assert b"name = xen1\n" in own.read("etc/vmherd/vmclient.ini")
    assert not [path for path in own if b"secret" in own[path].content]


def test_ipxe_hands_over_little_and_the_first_stage_fetches_the_rest(tool: Tool) -> None:
    tool.ini.write_text(tool.ini.read_text().replace("folder = boot", "folder = boot\nipxe = yes"))
    tool.build()
    tool.run("write")
    boot = tool.target / "boot"
    for name, mac in (("xen1", "52:54:00:00:00:01"), ("xen2", "52:54:00:00:00:02")):
        script = (boot / "ipxe" / f"{mac.replace(':', '-')}.ipxe").read_text()
        handed = [
            line.split(" ", 1)[1].partition(" || ")[0] for line in script.splitlines() if line.startswith(("kernel", "module"))
        ]
        assert sum(len(line) + 1 for line in handed) <= 512  # the buffer that iPXE has for all of them
        early = dict(re.findall(r"vmherd\.(\w+)=(\S+)", handed[1]))
        words = dict(re.findall(r"vmherd\.(\w+)=(\S+)", (boot / early.pop("words")).read_text()))
        assert early.items() <= words.items()
        assert words == dict(re.findall(r"vmherd\.(\w+)=([^\s;]+)", tool.menu(mac)))
        assert words["host"] == name


def test_a_shared_root_can_be_written_only_where_it_leads_into_memory(tool: Tool) -> None:
    tool.build("shared")
    (root,) = (tool.target / "nfs" / "shared").iterdir()
    assert os.readlink(root / "var" / "log") == "/flash/var/log"
    assert os.readlink(root / "root") == "/flash/root"
    held = cpio.read((root / "usr/share/vmherd-image/flash.cpio").read_bytes())
    assert {"etc/vmherd-image/modules", "var/log", "srv", "root"} <= set(held)
    assert stat.S_ISREG(held["etc/resolv.conf"].mode)  # each host's own takes its place
    (sums,) = (tool.target / "boot" / "images" / "shared").glob("*/root")
    checked = subprocess.run(["sha256sum", "-c", str(sums)], cwd=root, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    tool.run("build", "--no-grub", "ram")
    tool.run("write")
    assert f"{root} 10.77.0.0/24(ro,no_root_squash" in (tool.target / "exports").read_text()
    said = tool.run("writes", "shared")
    assert "/var/spool/daemon/queue: named by" in said
    assert "/var/log/daemon.log" not in said


def test_hosts_keep_their_root_when_another_is_built(tool: Tool) -> None:
    tool.build()
    tool.run("write")
    before = tool.menu("52:54:00:00:00:01")
    (tool.folder / "root" / "etc" / "motd").write_text("new\n")
    assert "is new" in tool.build("ram")
    assert tool.run("write") == f"{tool.target}: nothing to change\n"
    assert tool.menu("52:54:00:00:00:01") == before


def test_what_belongs_to_a_host_that_is_gone_goes(tool: Tool) -> None:
    tool.build()
    tool.run("write")
    assert "added" in tool.run(
        "host", "add", "xen3", "--mac", "52:54:00:00:00:03", "--address", "10.77.0.13", "--profile", "ram"
    )
    tool.run("write")
    assert "xen3" in tool.menu("52:54:00:00:00:03")
    tool.run("host", "remove", "xen3")
    said = tool.run("write")
    assert re.search(r"(?m)^removed +.*/boot/hosts/xen3\.cpio$", said)
    assert not (tool.target / "boot" / "hosts" / "xen3.cpio").exists()
    assert (tool.target / "boot" / "hosts" / "xen1.cpio").exists()


def test_a_host_that_does_not_fit_leaves_the_file_as_it_is(tool: Tool) -> None:
    before = tool.ini.read_text()
    said = tool.run("host", "add", "xen3", "--mac", "52:54:00:00:00:01", "--address", "10.99.0.13", code=2)
    assert "the MAC 52:54:00:00:00:01 belongs to xen1 already" in said
    assert "10.99.0.13 lies outside lab" in said
    assert tool.ini.read_text() == before


def test_nothing_is_ever_written_outside_the_target(tool: Tool, tmp_path: Path) -> None:
    tool.build()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tool.target / "boot" / "hosts").symlink_to(elsewhere)
    assert f"{tool.target / 'boot' / 'hosts'} is a link" in tool.run("write", code=1)
    assert not list(elsewhere.iterdir())
    assert not (tool.target / "dnsmasq.conf").exists()


def test_two_at_once_are_refused(tool: Tool) -> None:
    import fcntl

    tool.build()
    with (tool.target / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert f"another vmprovision works in {tool.target}" in tool.run("write", code=1)


def test_a_managers_private_key_is_never_given_to_hosts(tool: Tool) -> None:
    keys = tool.folder / "keys"
    keys.mkdir()
    (keys / "mgr1.pub").write_text("vmherd-ed25519-secret 00\n")
    tool.ini.write_text(tool.ini.read_text().replace("folder = boot", "folder = boot\nmanagers = keys"))
    tool.build()
    assert "holds a private key" in tool.run("write", code=1)


def test_iscs_dhcpd_takes_what_is_written_for_it(tool: Tool) -> None:
    tool.ini.write_text(tool.ini.read_text().replace("folder = boot", "folder = boot\ndhcp = isc\nnfs = ganesha"))
    tool.build()
    tool.run("write")
    _accepted(["/usr/sbin/dhcpd", "-t", "-cf", str(tool.target / "dhcpd.conf")])
    assert "Pseudo = /nfs/shared/" in (tool.target / "ganesha.conf").read_text()


def test_ganesha_is_told_real_paths(tool: Tool) -> None:
    """It follows no symbolic link in the path of an export, and then exports nothing."""
    (tool.folder / "elsewhere").mkdir()
    tool.target.symlink_to("elsewhere")
    tool.ini.write_text(tool.ini.read_text().replace("folder = boot", "folder = boot\nnfs = ganesha"))
    tool.build()
    tool.run("write")
    assert f"Path = {tool.folder}/elsewhere/nfs/shared/" in (tool.target / "ganesha.conf").read_text()


def test_dnsmasq_takes_what_is_written_for_it(tool: Tool) -> None:
    tool.build()
    tool.run("write")
    _accepted(["/usr/sbin/dnsmasq", "--test", f"--conf-file={tool.target / 'dnsmasq.conf'}"])


def _accepted(argv: list[str]) -> None:
    if not Path(argv[0]).exists():
        pytest.skip(f"{argv[0]} is not installed")
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
