"""The target folder on disk: what is there is compared with what should be, and made so. Nothing outside it is ever written.

All new files are written aside first and then renamed, so a full disk or an interruption leaves what was there. Who works in it
holds its lock.
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from provision import progress
from provision.tree import Tree
from vmprovision.built import IMAGES, NFS, Build, Builds

WRITTEN = ".vmprovision"  # the files that we wrote, so that we may take them away again
BUILDS = "builds.json"
ASIDE = ".unfinished-"
BUILD = "build.json"
KEPT_MAX = 3  # builds of a profile that no host has; older ones go
SHOWN_BYTES_MAX = 1_000_000


class TargetFault(Exception):
    """The folder cannot be written as asked: one sentence."""


@dataclass(frozen=True, slots=True)
class Change:
    """One file. `before` None: it is new; `after` None: it goes."""

    path: str
    before: bytes | None
    after: bytes | None

    @property
    def word(self) -> str:
        return "new" if self.before is None else "removed" if self.after is None else "changed"

    def difference(self) -> str:
        """As `diff -u` shows it; of what is no text, only the sizes."""
        old, new = (b"" if one is None else one for one in (self.before, self.after))
        if b"\0" in old + new or len(old) + len(new) > SHOWN_BYTES_MAX:
            return f"--- {self.path}\n+++ {self.path}\nno text: {len(old)} -> {len(new)} bytes\n"
        before, after = (one.decode(errors="replace").splitlines(keepends=True) for one in (old, new))
        names = ["/dev/null" if one is None else self.path for one in (self.before, self.after)]
        return "".join(difflib.unified_diff(before, after, names[0], names[1]))


class Target:
    """`folder`: made when something is first written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    # --- files --------------------------------------------------------------------------------------------------------------

    def changes(self, files: Mapping[str, bytes]) -> list[Change]:
        """Raises TargetFault."""
        gone = [path for path in self._written() if path not in files]
        pairs = [*files.items(), *((path, None) for path in gone)]
        found = (Change(path, self._read(path), after) for path, after in sorted(pairs, key=lambda pair: pair[0]))
        return [one for one in found if one.before != one.after]

    def apply(self, files: Mapping[str, bytes]) -> list[Change]:
        """Makes it so, and says what was changed. Raises TargetFault."""
        with self._locked():
            changes = self.changes(files)
            fresh = {one.path: one.after for one in changes if one.after is not None}
            listed = json.dumps({"files": sorted(files)}, indent=0).encode()
            if self._read(WRITTEN) != listed:
                fresh[WRITTEN] = listed
            self._write(fresh)
            for one in changes:
                if one.after is None:
                    self._place(one.path).unlink(missing_ok=True)
            return changes

    def put(self, path: str, data: bytes) -> bool:
        """One file that belongs to no host; whether it was changed. Raises TargetFault."""
        with self._locked():
            if self._read(path) == data:
                return False
            self._write({path: data})
            return True

    def _write(self, files: Mapping[str, bytes]) -> None:
        """All aside, then all into their places: nothing has changed where the disk is full."""
        aside: list[tuple[Path, Path]] = []
        try:
            for folder in {self._place(path).parent for path in files}:
                _sweep(folder)
            for path, data in files.items():
                place = self._place(path)
                place.parent.mkdir(parents=True, exist_ok=True)
                number, name = tempfile.mkstemp(prefix=ASIDE, dir=place.parent)
                aside.append((Path(name), place))
                with os.fdopen(number, "wb") as file:
                    file.write(data)
                    os.fchmod(number, 0o644)
                    file.flush()
                    os.fsync(number)
            with _uninterrupted():
                for temporary, place in aside:
                    temporary.replace(place)
        except OSError as fault:
            raise TargetFault(f"{fault.filename or self.folder}: {fault.strerror}; nothing was changed") from None
        finally:
            for temporary, _ in aside:
                temporary.unlink(missing_ok=True)

    def _place(self, path: str) -> Path:
        """safety: a path inside the folder, with no link on the way that leads elsewhere. Raises TargetFault."""
        place = self.folder / path
        if ".." in Path(path).parts or Path(path).is_absolute():
            raise TargetFault(f"{path} would lie outside {self.folder}")
        for one in (place, *place.parents):
            if one == self.folder:
                break
            if one.is_symlink():
                raise TargetFault(f"{one} is a link, and may lead outside {self.folder}: take it away")
        return place

    def _read(self, path: str) -> bytes | None:
        place = self._place(path)
        try:
            return place.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as fault:
            raise TargetFault(f"{place}: {fault.strerror}") from None

    def _written(self) -> list[str]:
        """What an earlier run wrote. Raises TargetFault."""
        held = self._read(WRITTEN)
        if held is None:
            return []
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return [str(path) for path in json.loads(held)["files"]]
        raise TargetFault(f"{self.folder / WRITTEN} is damaged: remove it (files of hosts that are gone then stay)")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Raises TargetFault where another vmprovision is at it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            number = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as fault:
            raise TargetFault(f"{self.folder}: {fault.strerror}") from None
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise TargetFault(f"another vmprovision works in {self.folder}") from None
        finally:
            os.close(number)

    # --- builds -------------------------------------------------------------------------------------------------------------

    def builds(self) -> Builds:
        """Raises TargetFault."""
        found: dict[tuple[str, str], Build] = {}
        for path in sorted((self.folder / "boot" / IMAGES).glob(f"*/*/{BUILD}")):
            with contextlib.suppress(ValueError, OSError):
                build = Build.decoded(path.read_text())
                found[build.profile, build.digest] = build
        held = self._read(BUILDS)
        try:
            state = json.loads(held) if held else {}
            return Builds(state.get("current", {}), found, state.get("chosen", {}), state.get("before", {}))
        except (ValueError, AttributeError):
            raise TargetFault(f"{self.folder / BUILDS} is damaged: remove it, and build again") from None

    def keep(self, builds: Builds) -> None:
        """Which are current, and which hosts have. Raises TargetFault."""
        state = {"current": builds.current, "chosen": builds.chosen, "before": builds.before}
        with self._locked():
            self._write({BUILDS: json.dumps(state, indent=1, sort_keys=True).encode() + b"\n"})

    def add(self, build: Build, files: Mapping[str, bytes], shared: Tree | None) -> None:
        """A build's files, whole or not at all; `shared`: the tree of an NFS root. Raises TargetFault."""
        with self._locked():
            self._sweep()
            try:
                if shared is not None:
                    self._folder(f"{NFS}/{build.profile}", build.digest, lambda folder: write_tree(shared, folder))
                everything = {**files, BUILD: build.encoded().encode()}
                place = f"boot/{build.place}"
                self._folder(place.rpartition("/")[0], build.digest, lambda folder: _write_all(everything, folder))
            except OSError as fault:
                raise TargetFault(
                    f"{fault.filename or self.folder}: {fault.strerror}; the builds before are untouched"
                ) from None

    def check(self, build: Build, shared: Tree | None) -> None:
        """Raises TargetFault where a build's files are not what was built: hosts would refuse to boot from it."""
        place, root = self.folder / "boot" / build.place, self.folder / NFS / build.profile / build.digest
        wrong = [str(place / name) for name, wanted in build.sums.items() if _sum(place / name) != wanted]
        nodes = {path: shared[path] for path in shared} if shared else {}
        files = {path: hashlib.sha256(node.content).hexdigest() for path, node in nodes.items() if stat.S_ISREG(node.mode)}
        wrong += [str(root / path) for path, wanted in files.items() if _sum(root / path) != wanted]
        if wrong:
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            why = f"{wrong[0]}{more}: changed or damaged since it was built, hosts refuse to boot from it"
            raise TargetFault(f"{why} (put it back, or take {place}{f' and {root}' if shared else ''} away and build again)")

    def _folder(self, above: str, name: str, fill: Callable[[Path], None]) -> None:
        """A running root is never written again: what has this name has these contents."""
        place = self._place(f"{above}/{name}")
        if place.exists():
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=ASIDE, dir=place.parent))
        try:
            fill(fresh)
            fresh.chmod(0o755)
            os.sync()
            fresh.rename(place)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _sweep(self) -> None:
        """What an interruption left."""
        for above in (self.folder / "boot" / IMAGES, self.folder / NFS):
            for profile in above.glob("*"):
                _sweep(profile)

    def forget(self, builds: Builds) -> list[str]:
        """Takes away builds that no host has and that are not among the newest; says which."""
        used = {*builds.chosen.values(), *builds.before.values(), *builds.current.values()}
        gone: list[str] = []
        with self._locked():
            for profile in sorted({name for name, _ in builds.all}):
                folders = sorted((self.folder / "boot" / IMAGES / profile).glob("*"), key=lambda path: path.stat().st_mtime)
                for old in [path for path in folders if path.name not in used][:-KEPT_MAX]:
                    shutil.rmtree(old, ignore_errors=True)
                    shutil.rmtree(self.folder / NFS / profile / old.name, ignore_errors=True)
                    gone.append(f"{profile} {old.name}")
        return gone


def _sweep(folder: Path) -> None:
    """What an interrupted run left there; only who holds the lock may."""
    for path in folder.glob(f"{ASIDE}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until all is in its place."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _sum(path: Path) -> str:
    """Empty where it is not to be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _write_all(files: Mapping[str, bytes], folder: Path) -> None:
    for name, data in files.items():
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o644)


def write_tree(tree: Tree, folder: Path) -> None:
    """Files as root's where root writes them. Raises OSError."""
    for path in progress.counted("writing the root", tree, len(tree)):
        node, place = tree[path], folder / path
        if stat.S_ISDIR(node.mode):
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(stat.S_IMODE(node.mode))
        elif stat.S_ISLNK(node.mode):
            place.symlink_to(node.content.decode())
        elif stat.S_ISREG(node.mode):
            place.write_bytes(node.content)
            place.chmod(stat.S_IMODE(node.mode))
