"""A Debian system's files as one tree: packages with what they need, what no such image uses left out. Decides no purpose.

Only for images without a package manager: no maintainer script is run, so nothing that needs one may be asked for.
"""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path

from provision import debs, kernel, progress
from provision.apt import Apt
from provision.dependencies import Download
from provision.programs import output
from provision.tree import Tree

LIST_S = 20.0
ARCHITECTURE = "amd64"
KERNEL = f"linux-image-{ARCHITECTURE}"
KERNEL_NAMES = rf"linux-image-\d.*-{ARCHITECTURE}"

# what the packages of an installed system need and one that only runs from RAM does not
WITHOUT_PACKAGES = (
    "adduser", "debconf", "dpkg", "gcc-*-base", "grub*", "init-system-helpers", "libpam*", "libsemanage*", "media-types",
    "passwd", "perl*", "readline-common", "sensible-utils", "systemd*", "sysvinit-utils", "tar", "tzdata", "ucf", "udev",
)  # fmt: skip
WITHOUT_FILES = (
    "usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian", "usr/share/bash-completion", "usr/share/bug",
    "usr/share/info", "usr/share/i18n", "usr/share/python3", "usr/share/perl5", "usr/share/zsh", "usr/share/pixmaps",
    "usr/share/applications", "usr/share/libc-bin", "usr/share/menu", "usr/lib/x86_64-linux-gnu/gconv",
    "usr/lib/x86_64-linux-gnu/perl-base", "usr/lib/systemd", "usr/lib/udev", "usr/lib/valgrind", "usr/lib/debug",
    "lib/systemd", "lib/udev", "etc/cron*", "etc/init.d", "etc/logrotate.d", "etc/grub.d", "etc/default/grub.d",
    "usr/share/pkgconfig", "usr/include", "usr/lib/x86_64-linux-gnu/pkgconfig", "usr/lib/x86_64-linux-gnu/*.a",
)  # fmt: skip
WITHOUT_PYTHON = (
    "usr/lib/python3*/test", "usr/lib/python3*/idlelib", "usr/lib/python3*/lib2to3", "usr/lib/python3*/ensurepip",
    "usr/lib/python3*/pydoc_data", "usr/lib/python3*/distutils", "usr/lib/python3*/tkinter", "usr/lib/python3*/turtledemo",
    "usr/lib/python3*/unittest", "usr/lib/python3*/config-*", "usr/lib/python3*/curses", "usr/lib/python3*/dbm",
    "usr/lib/python3*/wsgiref", "usr/lib/python3*/xmlrpc", "usr/lib/python3*/*/__pycache__",
    "usr/lib/python3*/lib-dynload/_codecs_*",
)  # fmt: skip
# of the kernel's modules, those that no virtual machine and no dom0's network or disk uses: not even unpacked
WITHOUT_MODULES = tuple(
    f"lib/modules/*/kernel/{one}"
    for one in (
        "sound", "drivers/gpu", "drivers/media", "drivers/net/wireless", "drivers/staging", "drivers/infiniband",
        "drivers/iio", "drivers/hwmon", "drivers/usb/gadget", "drivers/usb/serial", "drivers/usb/misc", "drivers/input",
        "drivers/hid", "drivers/platform", "drivers/isdn", "drivers/leds", "drivers/mfd", "drivers/comedi", "drivers/video",
        "drivers/bluetooth", "net/bluetooth", "net/wireless", "net/mac80211",
    )
)  # fmt: skip
MACHINE_FILES = {
    "etc/passwd": "root:*:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/hosts": "127.0.0.1 localhost\n",
}
FOLDERS = ("proc", "sys", "dev", "run", "root", "srv", "mnt", "var/lib", "var/log", "etc/vmherd-image/services")


def current(apt: Apt, wanted: Iterable[str], without: Iterable[str] = ()) -> list[Download]:
    """The packages and all they need, as the repository has them now. Raises NotToBeHad."""
    return apt.versions(apt.closure(wanted, (*WITHOUT_PACKAGES, *without)))


class Linux:
    """The release's kernel and its modules, not to be an image but to be chosen from; unpacked once, when it is wanted."""

    def __init__(self, apt: Apt) -> None:
        """Raises NotToBeHad."""
        self._apt = apt
        self.downloads = apt.versions([apt.newest(KERNEL, KERNEL_NAMES)])

    @functools.cached_property
    def tree(self) -> Tree:
        tree = Tree()
        packages = self._apt.fetch(self.downloads)
        with progress.watched("unpacking the kernel"):
            for package in packages:
                debs.unpack(tree, package, without=WITHOUT_MODULES)
        return tree

    @functools.cached_property
    def vmlinux(self) -> bytes:
        """Uncompressed."""
        (image,) = self.tree.matching("boot/vmlinuz-*")
        return kernel.vmlinux(self.tree.read(image))


def system(packages: Collection[Path]) -> Tree:
    """A machine with these packages, a root user, and the folders that every machine has."""
    tree = Tree()
    for package in progress.each("unpacking packages", packages):
        debs.unpack(tree, package, without=WITHOUT_FILES)
    tree.remove(*WITHOUT_PYTHON)
    for path, text in MACHINE_FILES.items():
        tree.file(path, text)
    for path in FOLDERS:
        tree.folder(path)
    tree.folder("tmp", 0o1777)
    tree.link("var/run", "../run")
    return tree


def python_version(tree: Tree) -> str:
    """`3.11`, of the interpreter in a tree. Raises ValueError."""
    found = [match[1] for path in tree if (match := re.fullmatch(r"usr/bin/python(3\.\d+)", path))]
    if len(found) != 1:
        raise ValueError(f"one Python was expected in the image, found: {', '.join(found) or 'none'}")
    return found[0]


def glibc_minor(packages: Iterable[Path]) -> int:
    """36 for glibc 2.36. Raises ValueError."""
    for package in packages:
        if match := re.match(r"libc6_2\.(\d+)-", package.name):
            return int(match[1])
    raise ValueError("libc6 is not among the packages")


def busybox(tree: Tree) -> None:
    """A link for each program of busybox that no package brought. It is run, once, to say which it has."""
    place = tree.matching("usr/bin/busybox")[0]
    for applet in applets(tree.read(place)):
        if f"usr/bin/{applet}" not in tree and f"usr/sbin/{applet}" not in tree:
            tree.link(f"usr/bin/{applet}", "busybox")


def applets(program: bytes) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "busybox"
        path.write_bytes(program)
        path.chmod(0o755)
        return output([str(path), "--list"], limit_s=LIST_S).decode().split()
