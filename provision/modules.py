"""Which kernel modules an image needs, and the files by which modprobe finds them. Reads what modules say of themselves.

What depmod(8) makes of a folder, without running it: modules.dep and modules.alias of the modules that are chosen.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterable, Mapping

from provision.tree import Tree

FOLDER = "lib/modules"
_DEPENDS = re.compile(rb"\0depends=([\w,-]*)\0")
_ALIAS = re.compile(rb"\0alias=([^\0]{1,256})(?=\0)")
_SUFFIX = re.compile(r"(?P<name>[^/]+)\.ko(?:\.xz)?$")


class Modules:
    """The modules of the one kernel in a tree. Raises ValueError where there is none, or more than one."""

    def __init__(self, tree: Tree) -> None:
        releases = {path.split("/")[3] for path in tree if path.startswith(f"usr/{FOLDER}/") and path.count("/") > 3}
        if len(releases) != 1:
            raise ValueError(f"one kernel was expected in the packages, found: {', '.join(sorted(releases)) or 'none'}")
        (self.release,) = releases
        self.folder = f"{FOLDER}/{self.release}"
        self._tree = tree
        found = ((_SUFFIX.search(path), path) for path in tree if path.startswith(f"usr/{self.folder}/kernel/"))
        self._paths = {_plain(match["name"]): path for match, path in found if match}
        listed = tree.read(f"{self.folder}/modules.builtin").decode().split()
        self._built_in = {_plain(path.rpartition("/")[2].removesuffix(".ko")) for path in listed}

    def has(self, name: str) -> bool:
        """As a module, or built in."""
        return _plain(name) in self._paths or _plain(name) in self._built_in

    def content(self, name: str) -> bytes:
        """The module's bytes, unpacked."""
        path = self._paths[name]
        data = self._tree.read(path)
        return lzma.decompress(data) if path.endswith(".xz") else data

    def needs(self, name: str) -> list[str]:
        """The modules that the module says it needs."""
        found = _DEPENDS.search(b"\0" + self.content(name))
        return [_plain(one) for one in found[1].decode().split(",") if one] if found else []

    def closure(self, wanted: Iterable[str]) -> dict[str, list[str]]:
        """Name -> all that must be loaded before it, what is loaded first coming last, as in modules.dep. What is built in
        needs nothing. Raises ValueError for a module that does not exist."""
        done: dict[str, list[str]] = {}
        for name in map(_plain, wanted):
            self._follow(name, done)
        return done

    def _follow(self, name: str, done: dict[str, list[str]]) -> None:
        if name in done or name in self._built_in:
            return
        if name not in self._paths:
            raise ValueError(f"the kernel {self.release} has no module {name}")
        before: list[str] = []
        for one in self.needs(name):
            self._follow(one, done)
            if one in done:  # else it is built in
                before = [each for each in before if each not in done[one] and each != one] + [one, *done[one]]
        done[name] = before

    def install(self, tree: Tree, wanted: Iterable[str]) -> None:
        """The modules, what they need, and the two lists, into an image."""
        chosen = self.closure(wanted)
        places = {name: f"kernel/{name}.ko" for name in chosen}
        contents = {name: self.content(name) for name in chosen}
        for name, data in sorted(contents.items()):
            tree.file(f"{self.folder}/{places[name]}", data, origin=f"kernel module {name}")
        tree.file(f"{self.folder}/modules.dep", dep_file(chosen, places))
        tree.file(f"{self.folder}/modules.alias", alias_file(contents))


def dep_file(chosen: Mapping[str, list[str]], places: Mapping[str, str]) -> str:
    return "".join(f"{places[name]}:{''.join(f' {places[one]}' for one in chosen[name])}\n" for name in sorted(chosen))


def alias_file(contents: Mapping[str, bytes]) -> str:
    """What the kernel calls a module when it wants one by itself: `fs-9p`."""
    pairs = sorted({(alias.decode(), name) for name, data in contents.items() for alias in _ALIAS.findall(data)})
    return "".join(f"alias {alias} {name}\n" for alias, name in pairs)


def _plain(name: str) -> str:
    return name.replace("-", "_")
