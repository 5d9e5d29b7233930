"""Atheris target: whatever comes from the network, unsigned or signed by an accepted but hostile key, ends in a verdict.

    .venv/bin/pip install atheris
    .venv/bin/python tests/fuzz/target_envelope.py -max_total_time=600 CORPUS_FOLDER

The first byte chooses the door. An exception that is not the documented one is a crash; libFuzzer keeps its input.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["common"]):
    import msgspec
    from nacl.signing import SigningKey

    from common import envelope, keys, protocol
    from common.envelope import MAGIC, Opener, Rejected
    from common.keys import Keyring

NOW = 1_800_000_000.0
SECRET = SigningKey(bytes(32))
RING = Keyring()
RING.set("m1", keys.raw_public(SECRET), "manager", "accepted")


def decode(data: bytes) -> None:
    try:
        message = protocol.decode(data)
    except protocol.ProtocolError as fault:
        check_sentence(fault)
    else:
        assert protocol.decode(protocol.encode(message)) is not None


def opened(data: bytes) -> None:
    try:
        Opener(("xen1",), RING).open(data, NOW)
    except Rejected as fault:
        check_sentence(fault)


def signed_header(data: bytes) -> None:
    opened(MAGIC + SECRET.sign(MAGIC + data).signature + data)


def signed_body(data: bytes) -> None:
    signed_header(msgspec.msgpack.encode(("m1", 7, ("xen1",), 0, NOW, 60.0, 0, data)))


def introduced(data: bytes) -> None:
    envelope.introduced(MAGIC + SECRET.sign(MAGIC + data).signature + data, NOW)


def check_sentence(fault: Exception) -> None:
    assert str(fault).isprintable()
    assert len(str(fault)) < 5000


DOORS = (decode, opened, signed_header, signed_body, introduced)


def one_input(data: bytes) -> None:
    if data:
        DOORS[data[0] % len(DOORS)](data[1:])


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
