"""The envelope as an attacker meets it: every check has its case, every byte counts, nothing comes in twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from common import envelope, keys, protocol
from common.bus.contract import PAYLOAD_BYTES_MAX
from common.envelope import MAGIC, SIGNATURE_BYTES, SKEW_S, WINDOW, Envelope, Opener, Reason, Rejected, Sealer
from common.protocol import ClbControl, Control, Execute, GetProp, Message, PropVal, ProtocolError, Reading

from .messages import NOW, Farm, client_messages, manager_messages

ROOT = Path(__file__).resolve().parents[2]
EXECUTE = Execute(execution="e1", command="service", parameters={"name": "httpd"})
READING = PropVal(reading=Reading(name="load", value=0.5))


def reason(opener: Opener, data: bytes, now: float = NOW) -> Reason | None:
    """Why it is refused; None: it is accepted."""
    try:
        opener.open(data, now)
    except Rejected as fault:
        rejected = fault
    else:
        return None
    assert str(rejected).isprintable()
    assert len(str(rejected)) < 4000
    assert rejected.silent == (rejected.reason == "not-addressed")
    return rejected.reason


def forged(secret: SigningKey, *header: Any) -> bytes:
    """An envelope with any header at all, rightly signed."""
    encoded = msgspec.msgpack.encode(header)
    return MAGIC + secret.sign(MAGIC + encoded).signature + encoded


@dataclass(frozen=True)
class Case:
    """Bytes made for client xen1, and what it says of them."""

    reason: Reason | None
    make: Callable[[Farm], bytes]
    epoch: int = 0
    prepare: Callable[[Farm], None] = lambda farm: None


def by_m1(*, sender: Any = "m1", id: Any = 7, to: Any = ("xen1",), reply: Any = 0, created: Any = NOW, ttl: Any = 60.0,
          epoch: Any = 0, body: Any = None, more: tuple[Any, ...] = ()) -> Callable[[Farm], bytes]:  # fmt: skip
    said = protocol.encode(EXECUTE) if body is None else body
    return lambda farm: forged(farm.secrets["m1"], sender, id, to, reply, created, ttl, epoch, said, *more)


def key_state(state: keys.State) -> Callable[[Farm], None]:
    return lambda farm: farm.keyring.set("m1", keys.raw_public(farm.secrets["m1"]), "manager", state)


NAN, INF = float("nan"), float("inf")
CASES: dict[str, Case] = {
    "a good one": Case(None, by_m1()),
    "a good one by a group": Case(None, by_m1(to=("other", "dom0"))),
    "with a field of a later version": Case(None, by_m1(more=("later",))),
    "at the last moment": Case(None, by_m1(created=NOW - 60 - SKEW_S)),
    "by a clock ahead as far as may be": Case(None, by_m1(created=NOW + SKEW_S)),
    "empty": Case("garbage", lambda farm: b""),
    "only the magic": Case("garbage", lambda farm: MAGIC),
    "another version": Case("garbage", lambda farm: b"VMH2" + by_m1()(farm)[4:]),
    "no header": Case("garbage", lambda farm: MAGIC + bytes(SIGNATURE_BYTES)),
    "over the payload limit": Case("garbage", lambda farm: by_m1()(farm) + bytes(PAYLOAD_BYTES_MAX)),
    "something after the end": Case("garbage", lambda farm: by_m1()(farm) + b"\x00"),
    "header is a map": Case("garbage", lambda farm: MAGIC + bytes(64) + msgspec.msgpack.encode({"sender": "m1"})),
    "header too short": Case("garbage", lambda farm: forged(farm.secrets["m1"], "m1", 7)),
    "header 100,000 deep": Case("garbage", lambda farm: MAGIC + bytes(64) + b"\x91" * 100_000),
    "later field 100,000 deep": Case(
        "garbage", lambda farm: MAGIC + bytes(64) + b"\x99" + by_m1()(farm)[69:] + b"\x91" * 100_000
    ),
    "sender of another type": Case("garbage", by_m1(sender=5)),
    "sender is a list": Case("garbage", by_m1(sender=["m1"])),
    "sender with a newline": Case("garbage", by_m1(sender="m1\nforged")),
    "sender with a newline at the end": Case("garbage", by_m1(sender="m1\n")),
    "sender with an escape": Case("garbage", by_m1(sender="m1\x1b[2J")),
    "sender with a right-to-left mark": Case("garbage", by_m1(sender="m1\u202e")),
    "sender that is a path": Case("garbage", by_m1(sender="../m1")),
    "sender empty": Case("garbage", by_m1(sender="")),
    "sender too long": Case("garbage", by_m1(sender="m" * 256)),
    "id zero": Case("garbage", by_m1(id=0)),
    "id below zero": Case("garbage", by_m1(id=-1)),
    "id of 64 bits": Case("garbage", by_m1(id=2**63)),
    "id is a fraction": Case("garbage", by_m1(id=7.5)),
    "id is true": Case("garbage", by_m1(id=True)),
    "to nobody": Case("garbage", by_m1(to=())),
    "to is text": Case("garbage", by_m1(to="xen1")),
    "to too many": Case("garbage", by_m1(to=("xen1",) * (envelope.TO_MAX + 1))),
    "to a forged line": Case("garbage", by_m1(to=("xen1", "a\nb"))),
    "created is no number": Case("garbage", by_m1(created=NAN)),
    "created never": Case("garbage", by_m1(created=INF)),
    "created before time": Case("garbage", by_m1(created=-INF)),
    "created is text": Case("garbage", by_m1(created="now")),
    "ttl is no number": Case("garbage", by_m1(ttl=NAN)),
    "ttl for ever": Case("garbage", by_m1(ttl=INF)),
    "ttl zero": Case("garbage", by_m1(ttl=0.0)),
    "ttl too long": Case("garbage", by_m1(ttl=3600.5)),
    "epoch below zero": Case("garbage", by_m1(epoch=-1)),
    "body is text": Case("garbage", by_m1(body="EXECUTE")),
    "body is no message": Case("garbage", by_m1(body=b"\xc1")),
    "body with a bomb": Case("garbage", by_m1(body=b"\x91" * 100_000)),
    "sender unknown": Case("unknown-key", by_m1(sender="m9")),
    "signed by another": Case("bad-signature", lambda farm: forged(farm.secrets["xen1"], *_header(by_m1()(farm)))),
    "signature of nothing": Case("bad-signature", lambda farm: MAGIC + bytes(64) + by_m1()(farm)[68:]),
    "signature of another message": Case("bad-signature", lambda farm: by_m1(id=8)(farm)[:68] + by_m1()(farm)[68:]),
    "header put together otherwise": Case(
        "bad-signature", lambda farm: by_m1()(farm)[:68] + b"\xdc\x00\x08" + by_m1()(farm)[69:]
    ),
    "key pending": Case("pending-key", by_m1(), prepare=key_state("pending")),
    "key rejected": Case("rejected-key", by_m1(), prepare=key_state("rejected")),
    "key pending, signed by another": Case(
        "bad-signature", lambda farm: forged(farm.secrets["xen1"], *_header(by_m1()(farm))), prepare=key_state("pending")
    ),
    "too old": Case("expired", by_m1(created=NOW - 60 - SKEW_S - 1)),
    "from 1970": Case("expired", by_m1(created=0.0)),
    "from an hour ahead": Case("future", by_m1(created=NOW + 3600)),
    "for another host": Case("not-addressed", by_m1(to=("xen2",))),
    "for another host, by nobody we know": Case("not-addressed", by_m1(to=("xen2",), sender="m9")),
    "of an older reign": Case("old-epoch", by_m1(epoch=4), epoch=5),
    "of this reign": Case(None, by_m1(epoch=5), epoch=5),
    "a question of an older reign": Case(None, by_m1(epoch=4, body=protocol.encode(GetProp())), epoch=5),
    "a manager that answers": Case("not-its-to-say", by_m1(body=protocol.encode(READING))),
    "a client that commands": Case("not-its-to-say", lambda farm: farm.xen1.seal(EXECUTE, ("xen1",), NOW)),
    "a client that controls": Case("not-its-to-say", lambda farm: farm.xen1.seal(Control(verb="pause"), ("clients",), NOW)),
}


def _header(data: bytes) -> list[Any]:
    header = msgspec.msgpack.decode(data[len(MAGIC) + SIGNATURE_BYTES :])
    assert isinstance(header, list)
    return header


@pytest.mark.parametrize("what", CASES)
def test_each_check_has_its_reason(what: str) -> None:
    case, farm = CASES[what], Farm()
    case.prepare(farm)
    assert reason(farm.at_xen1(epoch=case.epoch), case.make(farm)) == case.reason


def test_the_table_has_a_case_for_every_reason() -> None:
    assert {case.reason for case in CASES.values()} | {"replayed"} == {*get_args(Reason), None}


def test_a_refused_envelope_leaves_no_trace() -> None:
    """After all the refused ones, the good one with the same id is still accepted, in any epoch."""
    for what, case in CASES.items():
        if case.reason not in (None, "replayed"):
            farm = Farm()
            opener = farm.at_xen1(epoch=case.epoch)
            case.prepare(farm)
            assert reason(opener, case.make(farm)) == case.reason
            key_state("accepted")(farm)
            assert reason(opener, by_m1(epoch=case.epoch)(farm)) is None, what


@given(st.one_of(manager_messages, client_messages), st.integers(0, 2**62), st.integers(0, 2**62), st.floats(0.5, 3600))
def test_what_is_sealed_is_opened(message: Message, reply: int, epoch: int, ttl_s: float) -> None:
    farm = Farm()
    by_manager = isinstance(message, protocol.FROM_MANAGER)
    sealer, opener, to = (farm.m1, farm.at_xen1(), "xen1") if by_manager else (farm.xen1, farm.at_m1(), "managers")
    data = sealer.seal(message, (to, "other"), NOW, in_reply_to=reply, epoch=epoch, ttl_s=ttl_s)
    role: envelope.Role = "manager" if by_manager else "client"
    assert opener.open(data, NOW) == Envelope(
        sealer.name, role, int(NOW * 1e9), (to, "other"), reply, NOW, ttl_s, epoch, message
    )


@settings(max_examples=300)
@given(st.data())
def test_any_change_of_any_byte_is_refused(data: st.DataObject) -> None:
    farm = Farm()
    good = farm.m1.seal(EXECUTE, ("xen1", "dom0"), NOW, epoch=3)
    at = data.draw(st.integers(0, len(good) - 1))
    how = data.draw(st.sampled_from(("change", "insert", "remove")))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != good[at]))
    bad = good[:at] + (b"" if how == "remove" else bytes([byte])) + good[at + (how != "insert") :]
    if bad != good:
        assert reason(farm.at_xen1(), bad) in ("garbage", "bad-signature", "unknown-key", "not-addressed")


def test_every_single_bit_is_signed() -> None:
    farm = Farm()
    good = farm.m1.seal(EXECUTE, ("xen1",), NOW)
    opener = farm.at_xen1()
    for bit in range(len(good) * 8):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        assert reason(opener, bytes(bad)) is not None, f"bit {bit}"
    assert reason(opener, good) is None


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_rejected(data: bytes) -> None:
    opener = Farm().at_xen1()
    for start in (b"", MAGIC, MAGIC + bytes(SIGNATURE_BYTES)):
        assert reason(opener, start + data) is not None
        assert envelope.introduced(start + data) is None


# --- replay -----------------------------------------------------------------------------------------------------------------


def test_nothing_is_accepted_twice() -> None:
    farm, opener = Farm(), Farm().at_xen1()
    said = [farm.m1.seal(EXECUTE, ("xen1",), NOW) for n in range(3 * WINDOW)]
    assert [reason(opener, data) for data in said] == [None] * len(said)
    assert {reason(opener, data) for data in said} == {"replayed"}


def test_nothing_is_accepted_twice_over_a_restart() -> None:
    farm, opener = Farm(), Farm().at_xen1()
    said = [farm.m1.seal(EXECUTE, ("xen1",), NOW) for n in range(WINDOW + 5)]
    for data in said:
        assert reason(opener, data) is None
    after = farm.at_xen1(floors=opener.floors())
    assert {reason(after, data) for data in said} == {"replayed"}
    assert reason(after, farm.m1.seal(EXECUTE, ("xen1",), NOW + 1)) is None


def test_nothing_is_accepted_twice_when_our_clock_is_set_back() -> None:
    farm, opener = Farm(), Farm().at_xen1()
    old = farm.m1.seal(EXECUTE, ("xen1",), NOW)
    assert reason(opener, old) is None
    for n in range(2 * WINDOW):
        assert reason(opener, farm.m1.seal(EXECUTE, ("xen1",), NOW + 3600 + n), NOW + 3600 + n) is None
    assert reason(opener, old, NOW) == "replayed"


def test_what_overtakes_within_the_window_is_accepted_once() -> None:
    farm, opener = Farm(), Farm().at_xen1()
    said = [farm.m1.seal(EXECUTE, ("xen1",), NOW) for _ in range(WINDOW)]
    assert [reason(opener, data) for data in reversed(said)] == [None] * len(said)
    assert {reason(opener, data) for data in said} == {"replayed"}


@given(st.permutations(range(20)), st.lists(st.integers(0, 19), max_size=20))
def test_any_order_with_any_repeats_gives_each_once(order: list[int], repeats: list[int]) -> None:
    farm, opener = Farm(), Farm().at_xen1()
    said = [farm.m1.seal(EXECUTE, ("xen1",), NOW) for _ in range(20)]
    accepted = [n for n in (*order, *repeats) if reason(opener, said[n]) is None]
    assert accepted == order


@pytest.mark.slow
def test_a_sender_that_says_100_000_things_costs_no_more_memory() -> None:
    farm = Farm()
    opener = farm.at_m1()
    for _ in range(100_000):
        opener._remember(_FakeHeader("xen1", farm.xen1.next_id(NOW)))  # type: ignore[arg-type]
    assert len(opener._seen["xen1"]) <= WINDOW
    assert opener.floors() == {"xen1": farm.xen1.next_id(NOW) - 1}


@dataclass(frozen=True)
class _FakeHeader:
    sender: str
    id: int


def test_a_new_key_starts_anew() -> None:
    """A client whose clock was years ahead is not locked out for ever."""
    farm, opener = Farm(), Farm().at_m1(floors={"xen1": 2**63 - 1})
    assert reason(opener, farm.xen1.seal(READING, ("managers",), NOW)) == "replayed"
    opener.forget("xen1")
    assert reason(opener, farm.xen1.seal(READING, ("managers",), NOW)) is None


def test_ids_rise_even_when_the_clock_is_set_back() -> None:
    sealer = Farm().m1
    ids = [sealer.next_id(now) for now in (NOW, NOW, NOW - 3600, NOW + 1)]
    assert ids == sorted(set(ids))


def test_a_reign_once_seen_is_not_left() -> None:
    farm, opener = Farm(), Farm().at_xen1()
    assert reason(opener, farm.m1.seal(EXECUTE, ("xen1",), NOW, epoch=7)) is None
    assert opener.epoch == 7
    assert reason(opener, farm.m1.seal(EXECUTE, ("xen1",), NOW, epoch=6)) == "old-epoch"
    assert opener.epoch == 7


def test_a_client_cannot_begin_a_reign() -> None:
    farm = Farm()
    opener = farm.at_m1()
    assert reason(opener, farm.xen1.seal(READING, ("managers",), NOW, epoch=99)) is None
    assert opener.epoch == 0


# --- sealing ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [{"to": ()}, {"to": ("a b",)}, {"to": ("x",) * 10_001}, {"ttl_s": 0}, {"ttl_s": 1e9}, {"ttl_s": NAN}, {"now": NAN},
     {"now": -1.0}, {"now": 1e10}, {"epoch": -1}, {"in_reply_to": 2**63}],
    ids=str,
)  # fmt: skip
def test_what_nobody_would_take_is_not_sealed(how: dict[str, Any]) -> None:
    how = {"to": ("xen1",), "now": NOW, "id": 7, **how}
    if how["now"] == 1e10:  # the year 2286: no 63-bit nanoseconds
        del how["id"]
    with pytest.raises(ProtocolError, match="cannot seal"):
        Farm().m1.seal(EXECUTE, **how)


def test_a_message_that_fits_alone_but_not_in_its_envelope_is_not_sealed() -> None:
    big = ClbControl(verb="x", values={"v": "x" * (PAYLOAD_BYTES_MAX - 60)})
    protocol.encode(big)
    with pytest.raises(ProtocolError, match="with the envelope"):
        Farm().xen1.seal(big, ("managers",), NOW)


def test_the_largest_message_arrives() -> None:
    farm = Farm()
    big = ClbControl(verb="x", values={"v": "x" * (PAYLOAD_BYTES_MAX - 300)})
    assert farm.at_m1().open(farm.xen1.seal(big, ("managers",), NOW), NOW).message == big


# --- strangers --------------------------------------------------------------------------------------------------------------


def hello(secret: SigningKey, name: str = "xen9", **values: Any) -> bytes:
    said = ClbControl(verb="hello", values={"key": keys.raw_public(secret).hex(), **values})
    return Sealer(name, secret).seal(said, ("managers",), NOW)


def test_a_stranger_introduces_itself_with_its_own_key() -> None:
    secret = SigningKey.generate()
    met = envelope.introduced(hello(secret, boot_id="b1"), NOW)
    assert met is not None
    assert met[:2] == ("xen9", keys.raw_public(secret))
    assert met[2].values["boot_id"] == "b1"


def test_a_stranger_with_another_ones_key_is_not_introduced() -> None:
    mine, other = SigningKey.generate(), SigningKey.generate()
    assert envelope.introduced(hello(mine, key=keys.raw_public(other).hex()), NOW) is None


@pytest.mark.parametrize("key", [None, 5, "", "zz", "00", "00" * 33, ["00" * 32]], ids=str)
def test_a_hello_without_a_usable_key_introduces_nobody(key: Any) -> None:
    assert envelope.introduced(hello(SigningKey.generate(), key=key), NOW) is None


def test_an_old_a_huge_or_a_reserved_hello_introduces_nobody() -> None:
    secret = SigningKey.generate()
    for now, why in ((NOW + 3600, "expired"), (NOW - 3600, "future")):
        with pytest.raises(Rejected) as rejected:
            envelope.introduced(hello(secret), now)
        assert (rejected.value.reason, rejected.value.sender) == (why, "xen9")
    assert envelope.introduced(hello(secret, junk="x" * 70_000), NOW) is None
    assert envelope.introduced(hello(secret, name="managers"), NOW) is None


def test_other_messages_introduce_nobody() -> None:
    secret = SigningKey.generate()
    for message in (READING, ClbControl(verb="pong", values={"key": keys.raw_public(secret).hex()})):
        assert envelope.introduced(Sealer("xen9", secret).seal(message, ("managers",), NOW), NOW) is None


# --- the same everywhere ----------------------------------------------------------------------------------------------------

SCRIPT = """
import hashlib
from protocol.messages import NOW, Farm
from protocol.test_envelope import CASES, EXECUTE, reason
farm, said = Farm(), hashlib.sha256()
for what, case in CASES.items():
    said.update(repr((what, reason(farm.at_xen1(epoch=case.epoch), case.make(farm)))).encode())
said.update(farm.m1.seal(EXECUTE, ("xen1", "dom0"), NOW))
print(said.hexdigest())
"""


@pytest.mark.slow
def test_bytes_and_verdicts_do_not_depend_on_the_hash_seed() -> None:
    said = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT / "tests",
            capture_output=True,
            check=True,
            timeout=100,
        ).stdout
        for seed in ("0", "1", "4711")
    }
    assert len(said) == 1
