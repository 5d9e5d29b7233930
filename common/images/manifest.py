"""The manifest of one version of an image: names, limits, JSON and back, which version is the newest. Bytes in, values out.

A manifest comes from a share that others write to as well, so it is read as hostile: whatever is wrong is an ImageFault
that names the file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

MANIFEST = "manifest.json"
MANIFEST_BYTES_MAX = 65_536  # ours have about 800
FILE_BYTES_MAX = 1 << 40
TEXT_CHARS_MAX = 2048  # as `cmdline` in vms.ini
NAME_CHARS_MAX = 64
SEQUENCE_MAX = 10**9

_ONE_LINE = r"\A[^\x00-\x1f\x7f-\x9f\u2028\u2029]*\Z"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)  # no hidden file, no path, not lost+found
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}", re.ASCII)
_RULE = "letters, digits, _ . {}-, beginning with a letter or digit, 64 at most"

Role = Literal["kernel", "initrd", "disk"]
"""What a file is for; it is the file's name in the image as well."""
Line = Annotated[str, Meta(max_length=TEXT_CHARS_MAX, pattern=_ONE_LINE)]


class ImageFault(Exception):
    """An image, or the folder of images, cannot be used: one sentence that names the file or the image."""


class ImageFile(Struct, frozen=True):
    """`sha256` in hex. `device`: as which the guest sees a disk."""

    bytes: Annotated[int, Meta(ge=1, le=FILE_BYTES_MAX)]
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    device: Annotated[str, Meta(pattern=r"\A((xvd|sd|hd|vd)[a-z]{1,2})?\Z")] = ""


class Manifest(Struct, frozen=True):
    """`sequence`: number of the publication among those of this name. `made_at`: seconds since the epoch, for people only.

    `seal`: SHA-256 of the manifest without it, in hex; against accidents: who may write in the share may make a new one."""

    name: Annotated[str, Meta(max_length=NAME_CHARS_MAX)]
    version: Annotated[str, Meta(max_length=NAME_CHARS_MAX)]
    sequence: Annotated[int, Meta(ge=1, le=SEQUENCE_MAX)]
    files: dict[Role, ImageFile]
    made_by: Line
    made_at: Annotated[float, Meta(ge=0, le=1e11)]
    note: Line = ""
    cmdline: Line = ""
    format: Literal[1] = 1
    seal: str = ""

    @property
    def image(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files.values())


def sealed(manifest: Manifest, where: str) -> Manifest:
    """With its seal, ready to be written. Raises ImageFault where it would not be read back; `where` is for its text."""
    made = msgspec.structs.replace(manifest, seal=_seal(manifest))
    return decoded(encoded(made), where, manifest.name, manifest.version)


def encoded(manifest: Manifest) -> bytes:
    """As people read it in the share."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def _seal(manifest: Manifest) -> str:
    return hashlib.sha256(encoded(msgspec.structs.replace(manifest, seal=""))).hexdigest()


def decoded(data: bytes, where: str, name: str, version: str) -> Manifest:
    """`where`: the file, for the fault; `name`, `version`: of the folders it lies in. Raises ImageFault."""
    if len(data) > MANIFEST_BYTES_MAX:
        raise ImageFault(f"{where}: more than {MANIFEST_BYTES_MAX} bytes, that is no manifest")
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        raise ImageFault(f"{where}: no manifest of an image ({fault})") from None
    if (manifest.name, manifest.version) != (name, version):
        raise ImageFault(f"{where}: is about {shown(manifest.image)}, and lies in the folder of {name}@{version}")
    if fault_text := _files_fault(manifest):
        raise ImageFault(f"{where}: {fault_text}")
    if manifest.seal != _seal(manifest) or data != encoded(manifest):
        raise ImageFault(f"{where} is not what was published: it was changed afterwards")
    return manifest


def _files_fault(manifest: Manifest) -> str:
    roles = manifest.files.keys()
    if not roles & {"kernel", "disk"}:
        return "there is neither a kernel nor a disk to boot from"
    if "kernel" not in roles and ("initrd" in roles or manifest.cmdline):
        return "an initrd or a cmdline is of no use without a kernel"
    if any((role == "disk") != bool(file.device) for role, file in manifest.files.items()):
        return "a disk has a device, other files have none"
    return ""


def newest(manifests: Iterable[Manifest]) -> Manifest | None:
    """What was published last: the highest number. No clock has a say, and no order of version names."""
    return max(manifests, key=lambda each: (each.sequence, each.version), default=None)


def split(image: str) -> tuple[str, str]:
    """`NAME@VERSION` or `NAME` (then the version is empty). Raises ImageFault."""
    name, at, version = image.partition("@")
    checked_name(name)
    if at:
        checked_version(version)
    return name, version


def checked_name(name: str) -> str:
    """Raises ImageFault."""
    if not _NAME.fullmatch(name):
        raise ImageFault(f"{shown(name)} is no name of an image ({_RULE.format('')})")
    return name


def checked_version(version: str) -> str:
    """Raises ImageFault."""
    if not _VERSION.fullmatch(version):
        raise ImageFault(f"{shown(version)} is no version of an image ({_RULE.format('+ ')})")
    return version


def is_name(word: str) -> bool:
    return _NAME.fullmatch(word) is not None


def is_version(word: str) -> bool:
    return _VERSION.fullmatch(word) is not None


def shown(text: str) -> str:
    """As a fault shows what somebody else wrote."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
