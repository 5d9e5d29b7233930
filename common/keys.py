"""Ed25519 keys on disk and in memory: our own, the managers' we trust, those laid out locally. Knows no message and no bus.

docs/design/0003 says who trusts whom. A file that somebody else could have written, or a private key that somebody else may
read, is refused: KeyFault names the file and what to do.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nacl.bindings import crypto_hash_sha256
from nacl.signing import SigningKey, VerifyKey

from common.envelope import Role
from common.protocol import valid_name

KEY_BYTES = 32
LINE_TAG = "vmherd-ed25519"
SECRET_TAG = "vmherd-ed25519-secret"
SECRET_LINE = re.compile(rf"{SECRET_TAG} ([0-9a-f]{{64}})\s*".encode())
FILE_BYTES_MAX = 4096  # a key file has a few hundred
LOCAL_FILES_MAX = 10_000  # looked at in one scan of a local_keys folder

State = Literal["accepted", "pending", "rejected"]


class KeyFault(Exception):
    """A key or its file cannot be used; the text names the file and why."""


@dataclass(frozen=True, slots=True)
class Known:
    """One key of a keyring. `raw` are the 32 bytes of the public key."""

    name: str
    raw: bytes
    role: Role
    state: State
    key: VerifyKey


class Keyring:
    """Whose keys we know. Any thread may read or write: a change replaces the mapping, readers never wait."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}
        self._writing = threading.Lock()

    def set(self, name: str, raw: bytes, role: Role, state: State) -> None:
        """Adds or replaces. Raises KeyFault for a bad name or bytes that are no key."""
        self.update([(name, raw, role, state)])

    def update(self, entries: Iterable[tuple[str, bytes, Role, State]]) -> None:
        """Many at once, in one replacement. Raises KeyFault before anything is changed."""
        fresh = {name: Known(name, raw, role, state, _public(raw, name)) for name, raw, role, state in entries}
        with self._writing:
            self._known = self._known | fresh

    def remove(self, name: str) -> None:
        with self._writing:
            self._known = {other: known for other, known in self._known.items() if other != name}

    def find(self, sender: str) -> tuple[VerifyKey, Role, State] | None:
        known = self._known.get(sender)
        return (known.key, known.role, known.state) if known else None

    def get(self, name: str) -> Known | None:
        return self._known.get(name)

    def items(self) -> tuple[Known, ...]:
        """All that is known now, by name."""
        known = self._known
        return tuple(known[name] for name in sorted(known))


def raw_public(key: SigningKey) -> bytes:
    """The 32 bytes of the public half."""
    return bytes(key.verify_key)


def public_line(raw: bytes, name: str) -> str:
    """The one-line form, without a newline."""
    _public(raw, name)
    return f"{LINE_TAG} {raw.hex()} {name}"


def fingerprint(raw: bytes) -> str:
    """What people compare: the first 16 bytes of SHA-256 of the raw key, as hex in fours."""
    digest = crypto_hash_sha256(raw).hex()[:32]
    return ":".join(digest[i : i + 4] for i in range(0, 32, 4))


def own_key(state: Path, name: str) -> SigningKey:
    """The daemon's key `<state>/key`, made at first start, and beside it `key.pub`. Raises KeyFault."""
    if not valid_name(name):
        raise KeyFault(f"{name!r} is no name for a daemon: letters, digits, dot, dash and underscore only")
    path = state / "key"
    with _naming(path):
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        if fault := _folder_fault(state, 0o002):  # safety: keys, and what makes a command a replay, could be exchanged
            raise KeyFault(fault)
        if not path.exists():
            _make_key(path)
        key = _read_private(path)
        line = public_line(raw_public(key), name) + "\n"
        public = state / "key.pub"
        if not public.exists() or public.read_bytes() != line.encode():
            _write(public, line.encode(), mode=0o644)
    return key


def read_public(path: Path) -> tuple[str, bytes]:
    """(name, raw public key) of a one-line key file. Raises KeyFault."""
    with _naming(path), path.open("rb") as file:
        return _parse_line(file.read(FILE_BYTES_MAX + 1), path)


def load_managers(folder: Path) -> dict[str, bytes]:
    """The managers trusted by `NAME.pub` files: name -> raw key; none where no folder is. Raises KeyFault with all faults."""
    found: dict[str, bytes] = {}
    faults: list[str] = []
    with _naming(folder):
        paths = sorted(folder.glob("*.pub")) if folder.is_dir() else []
        faults += [_folder_fault(folder)] if paths and _folder_fault(folder) else []
    for path in paths:
        try:
            name, raw = _read_trusted(path)
        except KeyFault as fault:
            faults.append(str(fault))
            continue
        if path.name != f"{name}.pub":
            faults.append(f"{path}: holds the key of {name}; call it {name}.pub")
        found[name] = raw
    if faults:
        raise KeyFault("\n".join(faults))
    return found


def add_manager(folder: Path, name: str, raw: bytes) -> Path:
    """Trusts a manager from now on (accept_managers = first, or an administrator's wish). Raises KeyFault."""
    path = folder / f"{name}.pub"
    with _naming(path):
        line = public_line(raw, name) + "\n"
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        _write(path, line.encode(), mode=0o644)
    return path


def publish_local(folder: Path, name: str, role: Role, key: SigningKey) -> Path:
    """Lays our public key where the other daemons of this machine look (local_keys). Raises KeyFault."""
    path = folder / f"{name}.{role}.pub"
    with _naming(path):
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        line = (public_line(raw_public(key), name) + "\n").encode()
        if not path.exists() or path.read_bytes() != line:
            _write(path, line, mode=0o644)
    return path


@dataclass(frozen=True, slots=True)
class LocalKeys:
    """What a local_keys folder holds: keys to accept as (name, raw, role), and why each other file was refused."""

    accepted: tuple[tuple[str, bytes, Role], ...]
    refused: tuple[str, ...]


def scan_local(folder: Path) -> LocalKeys:
    """Never raises for what is in the folder; a folder that is not there holds nothing."""
    accepted: list[tuple[str, bytes, Role]] = []
    refused: list[str] = []
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".pub"))
        fault = _folder_fault(folder)
    except FileNotFoundError:
        return LocalKeys((), ())
    except OSError as error:
        return LocalKeys((), (f"{folder}: {error.strerror}",))
    if fault:
        return LocalKeys((), (fault,))
    for filename in names[:LOCAL_FILES_MAX]:
        try:
            accepted.append(_local(folder / filename))
        except KeyFault as key_fault:
            refused.append(str(key_fault))
    return LocalKeys(tuple(accepted), tuple(refused))


def _local(path: Path) -> tuple[str, bytes, Role]:
    name, raw = _read_trusted(path)
    roles: tuple[Role, ...] = ("client", "manager")
    for role in roles:
        if path.name == f"{name}.{role}.pub":
            return name, raw, role
    raise KeyFault(f"{path}: holds the key of {name}; call it {name}.client.pub or {name}.manager.pub")


def _public(raw: bytes, name: str) -> VerifyKey:
    if not valid_name(name):
        raise KeyFault(f"{name!r} is no name for a daemon: letters, digits, dot, dash and underscore only")
    if len(raw) != KEY_BYTES:
        raise KeyFault(f"the key of {name} has {len(raw)} bytes, not {KEY_BYTES}")
    return VerifyKey(raw)


def _parse_line(data: bytes, path: Path) -> tuple[str, bytes]:
    try:
        tag, digits, name = data.decode("ascii").split()
        raw = bytes.fromhex(digits)
    except ValueError:
        raise KeyFault(f"{path}: is not one line `{LINE_TAG} <64 hex digits> <name>`") from None
    if tag != LINE_TAG or len(data) > FILE_BYTES_MAX or len(data.splitlines()) != 1:
        raise KeyFault(f"{path}: is not one line `{LINE_TAG} <64 hex digits> <name>`")
    try:
        _public(raw, name)
    except KeyFault as fault:
        raise KeyFault(f"{path}: {fault}") from None
    return name, raw


def _read_trusted(path: Path) -> tuple[str, bytes]:
    """A public key file that only root or we can have written."""
    with _naming(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            fact = _own_file(descriptor, path)
            if fact.st_mode & 0o022:
                raise KeyFault(f"{path}: others may write it (mode {fact.st_mode & 0o777:04o}); use chmod 644")
            if fact.st_nlink != 1:  # a link to NAME.client.pub called NAME.manager.pub would change the role
                raise KeyFault(f"{path}: has {fact.st_nlink} hard links; copy it instead")
            return _parse_line(file.read(FILE_BYTES_MAX + 1), path)


def _own_file(descriptor: int, path: Path) -> os.stat_result:
    """A regular file of root or of our own user. Raises KeyFault."""
    fact = os.fstat(descriptor)
    if not stat.S_ISREG(fact.st_mode):
        raise KeyFault(f"{path}: is no regular file")
    if fact.st_uid not in (0, os.geteuid()):
        raise KeyFault(f"{path}: belongs to user {fact.st_uid}, who is neither root nor the user of this daemon")
    return fact


def _folder_fault(folder: Path, writers: int = 0o022) -> str:
    """Why files in this folder prove nothing, or empty: who may rename files here chooses what they stand for."""
    fact = folder.stat()
    if fact.st_uid not in (0, os.geteuid()):
        return f"{folder}: belongs to user {fact.st_uid}, who is neither root nor the user of this daemon"
    if fact.st_mode & writers and not fact.st_mode & stat.S_ISVTX:
        return f"{folder}: others may write it (mode {fact.st_mode & 0o777:04o}); use chmod 755, or 1777"
    return ""


def _read_private(path: Path) -> SigningKey:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        fact = _own_file(descriptor, path)
        if fact.st_mode & 0o077:
            raise KeyFault(f"{path}: others may read or write it (mode {fact.st_mode & 0o777:04o}); use chmod 600")
        data = file.read(FILE_BYTES_MAX + 1)
    found = SECRET_LINE.fullmatch(data)
    if found is None:
        raise KeyFault(f"{path}: is not one line `{SECRET_TAG} <64 hex digits>`; move it away to get a new key")
    return SigningKey(bytes.fromhex(found[1].decode()))


def _make_key(path: Path) -> None:
    """Two daemons that start at once agree on one key: link() does not replace."""
    line = f"{SECRET_TAG} {bytes(SigningKey.generate()).hex()}\n".encode()
    draft = path.with_name(f".key.{os.getpid()}.{threading.get_ident()}")
    try:
        _write_new(draft, line, 0o600)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _write(path: Path, data: bytes, mode: int) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        _write_new(draft, data, mode)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    path.unlink(missing_ok=True)  # of a daemon that died here and whose pid came again
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)  # whatever the umask
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        raise KeyFault(f"{fault.filename or path}: {fault.strerror}") from None
