"""Kernels as a boot loader of another kind wants them: vmlinux out of vmlinuz, Xen out of its gz. Bytes in, bytes out."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import struct
from collections.abc import Callable, Mapping

# Documentation/x86/boot.rst of Linux
MAGIC_AT, MAGIC = 0x202, b"HdrS"
SETUP_SECTORS_AT, SETUP_SECTORS_DEFAULT, SECTOR = 0x1F1, 4, 512
PAYLOAD_AT = 0x248  # offset and length, 32 bits each, counted from the protected-mode code
UNPACKERS: Mapping[bytes, tuple[str, Callable[[bytes], bytes]]] = {
    b"\x1f\x8b": ("gzip", lambda data: gzip.decompress(data)),
    b"\xfd7zXZ\0": ("xz", lambda data: lzma.LZMADecompressor().decompress(data)),
    b"]\0\0\0": ("lzma", lambda data: lzma.LZMADecompressor().decompress(data)),
    b"BZh": ("bzip2", lambda data: bz2.BZ2Decompressor().decompress(data)),
}
ELF = b"\x7fELF"
# an ELF note of Xen's (xen/include/public/elfnote.h): GUEST_OS (6) says "linux", SUPPORTED_FEATURES (17) has bit 11 for dom0
XEN_GUEST = b"\4\0\0\0\6\0\0\0\6\0\0\0Xen\0linux\0"
XEN_FEATURES = re.compile(rb"\x04\0\0\0\x04\0\0\0\x11\0\0\0Xen\0(....)", re.DOTALL)
FEATURE_DOM0 = 1 << 11


def vmlinux(image: bytes) -> bytes:
    """The uncompressed kernel inside a bzImage. Raises ValueError.

    Xen loads it as dom0 at once, where it would unpack the other slowly; so does `xl create`."""
    if image[MAGIC_AT : MAGIC_AT + len(MAGIC)] != MAGIC:
        raise ValueError("this is no Linux kernel (bzImage)")
    sectors = image[SETUP_SECTORS_AT] or SETUP_SECTORS_DEFAULT
    offset, length = struct.unpack_from("<II", image, PAYLOAD_AT)
    start = (sectors + 1) * SECTOR + offset
    return _elf(_unpacked(image[start : start + length]))


def xen_fault(image: bytes) -> str:
    """Why Xen could not start this uncompressed kernel as dom0; empty where it can."""
    if XEN_GUEST not in image:
        return "the kernel was built without Xen support (CONFIG_XEN)"
    found = XEN_FEATURES.search(image)
    if found and not int.from_bytes(found[1], "little") & FEATURE_DOM0:
        return "the kernel runs under Xen, but not as dom0 (CONFIG_XEN_DOM0)"
    return ""


def xen(packed: bytes) -> bytes:
    """Xen's own image. Raises ValueError."""
    return _elf(packed if packed.startswith(ELF) else _unpacked(packed))


def packed(image: bytes) -> bytes:
    """What a domain is started from: gzip is what every libxc reads, and fast; the header carries neither name nor time."""
    return gzip.compress(image, compresslevel=1, mtime=0)


def _unpacked(payload: bytes) -> bytes:
    for magic, (name, unpack) in UNPACKERS.items():
        if payload.startswith(magic):
            try:
                return unpack(payload)
            except (OSError, EOFError, lzma.LZMAError) as fault:
                raise ValueError(f"the kernel's {name} data is damaged: {fault}") from None
    raise ValueError(f"the kernel is packed in a way that is not known here (it begins with {payload[:4].hex()})")


def _elf(data: bytes) -> bytes:
    if not data.startswith(ELF):
        raise ValueError("what was unpacked is no ELF image")
    return data
