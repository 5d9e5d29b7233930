"""The files of an image, in memory: put together, pruned, weighed. Knows no archive, no package, no disk."""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

MERGED = ("bin", "sbin", "lib", "lib64")  # Debian's merged /usr: these are links to folders of /usr
DEPTH_MAX = 32  # of links that lead to links


@dataclass(frozen=True, slots=True)
class Node:
    """One file, folder, link or device. `mode`: type and permissions, as in stat(2). `content`: bytes of a file, target of a
    link. `device`: (major, minor). `origin`: what brought it, for the report of sizes."""

    mode: int
    content: bytes = b""
    origin: str = ""
    device: tuple[int, int] = (0, 0)


class Tree:
    """Path -> node; paths have no leading slash. Folders above a path appear by themselves. What is added later wins."""

    def __init__(self, *, merged: bool = True) -> None:
        self._nodes: dict[str, Node] = {}
        self.merged = merged
        for name in MERGED if merged else ():
            self.link(name, f"usr/{name}")
            self.folder(f"usr/{name}")

    def __getitem__(self, path: str) -> Node:
        return self._nodes[self.place(path)]

    def __contains__(self, path: str) -> bool:
        return self.place(path) in self._nodes

    def __iter__(self) -> Iterator[str]:
        """In the order in which an archive wants them: a folder before what is in it."""
        return iter(sorted(self._nodes))

    def __len__(self) -> int:
        return len(self._nodes)

    def place(self, path: str) -> str:
        """Where a path lies once /bin, /sbin and /lib are links. Raises ValueError for one that leaves the tree."""
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if not parts or ".." in parts:
            raise ValueError(f"{path!r} is no path inside an image")
        if self.merged and len(parts) > 1 and parts[0] in MERGED:
            parts.insert(0, "usr")
        return "/".join(parts)

    def add(self, path: str, node: Node) -> None:
        """A folder does not take the place of a link to one, as with dpkg."""
        place = self.place(path)
        there = self._nodes.get(place)
        if stat.S_ISDIR(node.mode) and there and stat.S_ISLNK(there.mode):
            return
        self._above(place)
        self._nodes[place] = node

    def _above(self, place: str) -> None:
        while "/" in place:
            place = place.rpartition("/")[0]
            if place in self._nodes:
                return
            self._nodes[place] = Node(stat.S_IFDIR | 0o755)

    def file(self, path: str, content: str | bytes, mode: int = 0o644, *, origin: str = "") -> None:
        data = content.encode() if isinstance(content, str) else content
        self.add(path, Node(stat.S_IFREG | mode, data, origin))

    def folder(self, path: str, mode: int = 0o755) -> None:
        self.add(path, Node(stat.S_IFDIR | mode))

    def link(self, path: str, target: str) -> None:
        self.add(path, Node(stat.S_IFLNK | 0o777, target.encode()))

    def merge(self, other: Tree) -> None:
        for path in other:
            self.add(path, other[path])

    def read(self, path: str) -> bytes:
        """A file's bytes, through links. Raises KeyError with the path."""
        place = self.place(path)
        for _ in range(DEPTH_MAX):
            node = self._nodes.get(place)
            if node is None:
                break
            if not stat.S_ISLNK(node.mode):
                return node.content
            target = node.content.decode()
            place = self.place(target if target.startswith("/") else f"{place.rpartition('/')[0]}/{target}")
        raise KeyError(f"/{path} is not in the image")

    def matching(self, *patterns: str) -> list[str]:
        """Paths that match one of the shell patterns (`*` takes slashes too), or lie below one that does."""
        return [path for path in self if any(fnmatchcase(path, one) or fnmatchcase(path, f"{one}/*") for one in patterns)]

    def remove(self, *patterns: str) -> int:
        """How many went."""
        gone = self.matching(*patterns)
        for path in gone:
            del self._nodes[path]
        return len(gone)

    def sizes(self) -> Mapping[str, int]:
        """Bytes of file content by origin, the largest first."""
        total: Counter[str] = Counter()
        for node in self._nodes.values():
            if stat.S_ISREG(node.mode):
                total[node.origin or "made here"] += len(node.content)
        return dict(sorted(total.items(), key=lambda pair: (-pair[1], pair[0])))

    def bytes(self) -> int:
        return sum(self.sizes().values())


def report(title: str, sizes: Mapping[str, int], top: int) -> Iterable[str]:
    """What takes the room: one line in all, then one for each of the `top` largest."""
    yield f"{title}: {sum(sizes.values()) / 1e6:.1f} MB"
    rows = list(sizes.items())
    for origin, size in rows[:top]:
        yield f"  {size / 1e6:8.1f} MB  {origin}"
    if len(rows) > top:
        yield f"  {sum(size for _, size in rows[top:]) / 1e6:8.1f} MB  {len(rows) - top} more"
