"""Ed25519 keys in the forms that ssh programs read: dropbear's private files, OpenSSH's public lines. Bytes in, bytes out.

Made by who lays a machine out, so that hosts know each other before they first boot, and none has to believe a stranger's key.
"""

from __future__ import annotations

import base64
import struct

from nacl.signing import SigningKey

KIND = b"ssh-ed25519"
# the same stands in files/vmherd-ssh, which looks at what is asked for; a test sees to it
ONLY_XL = 'command="/usr/sbin/vmherd-ssh in",no-pty,no-port-forwarding,no-agent-forwarding,no-X11-forwarding'


def private_file(key: SigningKey) -> bytes:
    """What `dropbearkey -t ed25519` writes (dropbear's ed25519.c: buf_put_ed25519_priv_key)."""
    secret, public = bytes(key), bytes(key.verify_key)
    return _string(KIND) + _string(secret + public)


def public_line(key: SigningKey, comment: str) -> str:
    """As in authorized_keys, for who may hand a domain over and nothing else; RFC 8709 has the bytes."""
    return f"{ONLY_XL} {KIND.decode()} {_blob(key)} {comment}"


def known_host(key: SigningKey, *names: str) -> str:
    """As in known_hosts: a line for each name, for dropbear takes no list."""
    return "\n".join(f"{name} {KIND.decode()} {_blob(key)}" for name in names)


def _blob(key: SigningKey) -> str:
    return base64.b64encode(_string(KIND) + _string(bytes(key.verify_key))).decode()


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data
