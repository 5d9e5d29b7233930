"""Whose keys we know, and what the operator said of them (docs/design/0003). Pure: keys are raw bytes, folders come as events.

Decisions are made by the leader, told to all managers in the bus's order (CONTROL verb `key`), and applied by each: `apply`.
Pending keys live in memory only: their owners offer them again with each hello.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from common.envelope import Role
from common.keys import KEY_BYTES, fingerprint
from common.protocol import Value, valid_address
from vmmanager.context import Context, Refused
from vmmanager.events import LookForKeys, Persist, Trust

PENDING_MAX = 1_000  # beyond that the oldest pending is dropped
LOOK_EVERY_S = 1.0  # unknown keys may come by the thousand; the folders are read at most so often
NOTED_PER_MINUTE_MAX = 100  # sentences about unknown keys; the keys themselves are all kept

REMOVED_MAX = 1_000  # removals remembered, so that a manager that was away does not bring a key back

KeyState = Literal["accepted", "pending", "rejected", "removed"]
LOCAL = "local_keys"  # who accepted it
FOLDER = "managers/"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One daemon's key. `offered`: another key that it shows now, empty when there is none."""

    name: str
    key: bytes
    role: Role
    state: KeyState
    first_seen: float
    decided: float = 0.0
    who: str = ""
    address: str = ""
    offered: bytes = b""

    def row(self) -> dict[str, Any]:
        """As docs/design/0004 has it."""
        return {
            "name": self.name, "role": self.role, "state": "changed" if self.offered else self.state,
            "fingerprint": fingerprint(self.offered or self.key), "first_seen": self.first_seen,
            "decided": self.decided or None, "who": self.who, "address": self.address,
        }  # fmt: skip

    def stored(self) -> dict[str, Value]:
        return {
            "key": self.key.hex(), "role": self.role, "state": self.state, "first_seen": self.first_seen,
            "decided": self.decided, "who": self.who,
        }  # fmt: skip


class KeyBook:
    """All known keys by name."""

    def __init__(self, context: Context) -> None:
        self._c = context
        self.records: dict[str, KeyRecord] = {}
        self._looked_at = float("-inf")
        self._look_again = False
        self._shown: dict[str, tuple[bytes, str, Role]] = {}  # keys shown since the folders were last looked at
        self._noted: list[float] = []

    def counts(self, state: str) -> int:
        return sum(1 for record in self.records.values() if record.row()["state"] == state)

    # --- what comes in --------------------------------------------------------------------------------------------------

    def introduced(self, name: str, key: bytes, address: str, role: Role) -> None:
        """A daemon showed a key that we do not accept. First the folders are looked at: perhaps it is laid out there."""
        if not valid_address(name) or name == self._c.name or len(self._shown) >= PENDING_MAX:
            return
        self._shown[name] = (key, address, role)
        self._look()

    def _weigh(self, name: str, key: bytes, address: str, role: Role) -> None:
        """A key that is in no folder."""
        known = self.records.get(name)
        if known and known.state == "accepted" and known.key == key:
            return
        if role == "manager":
            self._say(f"manager {name} at {address} offers a key unknown here: copy its key.pub to {FOLDER}{name}.pub")
            return
        if known is None or known.state == "removed":
            self._add_pending(KeyRecord(name, key, "client", "pending", self._c.now.wall, address=address))
        elif known.state == "pending" and known.key == key:
            self.records[name] = replace(known, address=address)
        elif (
            known.key != key and known.offered != key
        ):  # safety: what an operator has looked at is not exchanged under his hands
            self.records[name] = replace(known, offered=key, address=address)
            text = f"key of {name}: {known.state} -> changed (now offers {fingerprint(key)} from {address}); not believed"
            self._say(text, "changed")

    def _add_pending(self, record: KeyRecord) -> None:
        pending = [name for name, other in self.records.items() if other.state == "pending"]
        if len(pending) >= PENDING_MAX:
            del self.records[pending[0]]
        self.records[record.name] = record
        self._say(f"key of {record.name}: new -> pending ({fingerprint(record.key)} from {record.address})", "pending")

    def _say(self, text: str, word: str = "") -> None:
        now = self._c.now
        self._noted = [at for at in self._noted if now.mono - at < 60.0]
        if len(self._noted) < NOTED_PER_MINUTE_MAX:
            self._noted.append(now.mono)
            self._c.note(text, "warning", "keys")
            if word:
                self._c.record("key", text.split(":")[0].removeprefix("key of "), text)

    def _look(self) -> None:
        """Asks for the folders to be read, now or at the next tick."""
        if self._c.now.mono - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = self._c.now.mono
            self._look_again = False
            self._c.out.append(LookForKeys())
        else:
            self._look_again = True

    def tick(self) -> None:
        if self._look_again:
            self._look()

    def found(self, found: tuple[tuple[str, bytes, Role], ...], refused: tuple[str, ...]) -> list[tuple[Role, str]]:
        """Keys of the folders: accepted without an operator, unless one rejected them. Returns who is accepted now that was
        not before: (role, address on the bus, empty while unknown)."""
        for text in refused:
            self._say(f"a key file is not used: {text}")
        shown, self._shown = self._shown, {}
        accepted: list[tuple[Role, str]] = []
        for name, key, role in found:
            known = self.records.get(name)
            if name == self._c.name or (known and known.state == "rejected" and known.who not in (LOCAL, FOLDER)):
                continue
            if known and known.key == key and known.role == role and known.state == "accepted":
                continue
            who = FOLDER if role == "manager" else LOCAL
            address = shown[name][1] if name in shown else known.address if known else ""
            first_seen = known.first_seen if known else self._c.now.wall
            self._put(KeyRecord(name, key, role, "accepted", first_seen, self._c.now.wall, who, address))
            self._c.note(f"key of {name}: accepted as {role} ({fingerprint(key)}, laid out here)", part="keys")
            accepted.append((role, address))
        if not refused:
            self._revoke({name for name, _, role in found if role == "manager"})
        for name in shown:
            self._weigh(name, *shown[name])
        return accepted

    def _revoke(self, laid_out: set[str]) -> None:
        """safety: a manager is trusted by its file alone; with the file goes the trust."""
        for known in sorted(self.records.values(), key=lambda record: record.name):
            if known.role == "manager" and known.state == "accepted" and known.name not in laid_out:
                self._put(replace(known, state="removed", decided=self._c.now.wall, who=FOLDER))
                self._c.note(f"key of {known.name}: accepted -> removed (its key file is gone)", "warning", "keys")

    # --- what operators decide ------------------------------------------------------------------------------------------

    def decide(self, verb: str, name: str, who: str, shown: str = "") -> dict[str, Value]:
        """The CONTROL `key` to tell all managers; `shown` is the fingerprint that the operator has seen, empty: the newest key.
        Raises Refused when there is no such key, or another one than he has seen."""
        known = self.records.get(name)
        if known is None or known.state == "removed":
            raise Refused("no-such", f"no key of {name} is known here")
        if known.role == "manager":
            raise Refused("refused", f"{name} is a manager: its key is trusted by the file {FOLDER}{name}.pub alone")
        key = self._meant(known, verb, shown)
        state: KeyState = {"accept": "accepted", "reject": "rejected"}.get(verb, "removed")  # type: ignore[assignment]
        if verb == "reject" and known.offered and known.state != "pending":
            key, state = known.key, known.state  # what was decided stays; only the other key is refused
        return {"name": name, **replace(known, key=key, state=state, decided=self._c.now.wall, who=who).stored()}

    @staticmethod
    def _meant(known: KeyRecord, verb: str, shown: str) -> bytes:
        """Which key of `known` is decided upon. Raises Refused."""
        offers = {_digits(fingerprint(key)): key for key in (known.offered, known.key) if key}
        if shown:
            found = offers.get(_digits(shown))
            if found is None:
                now = " or ".join(fingerprint(key) for key in offers.values())
                raise Refused("refused", f"{known.name} shows another key: {now}, not {shown}; nothing was decided")
            return found
        if verb == "accept" and known.state == "pending" and known.offered:
            both = f"{fingerprint(known.key)} and {fingerprint(known.offered)}"
            raise Refused("refused", f"two keys were shown as {known.name}: {both}; say which with its fingerprint")
        return known.offered or known.key

    @staticmethod
    def shown(told: dict[str, Value]) -> dict[str, Value]:
        """What vmctl is told of a decision."""
        state = told.get("state")
        print_of = fingerprint(bytes.fromhex(str(told.get("key"))))
        return {"name": told.get("name"), "state": state, "fingerprint": print_of}

    def apply(self, told: dict[str, Value], token: str = "") -> str:
        """A decision arrived in the bus's order. Returns the address to ask for hello, empty for none."""
        record = record_of(str(told.get("name")), told)
        if record is None or record.role != "client":
            return ""
        known = self.records.get(record.name)
        address = known.address if known else ""
        old = known.row()["state"] if known else "unknown"
        self._put(replace(record, address=address), token)
        if record.state == "removed":
            self._c.farm.forget(record.name)
            self._drop_old_removals()
        text = f"key of {record.name}: {old} -> {record.state} (by {record.who})"
        self._c.note(text, part="keys")
        self._c.record("key", record.name, text, who=record.who)
        return address if record.state in ("accepted", "removed") else ""  # who was removed may introduce itself anew

    def _drop_old_removals(self) -> None:
        removed = sorted((r.decided, r.name) for r in self.records.values() if r.state == "removed")
        for _, name in removed[:-REMOVED_MAX]:
            del self.records[name]
            self._c.out.append(Persist("key", name, None))

    # --- the store and the standbys -------------------------------------------------------------------------------------

    def restore(self, name: str, value: dict[str, Value]) -> None:
        """A row of the store."""
        record = record_of(name, value)
        if record is not None and name != self._c.name:
            self.records[name] = record
            self._trust(record)

    def merge(self, rows: list[tuple[str, dict[str, Value]]]) -> list[dict[str, Value]]:
        """The leader's decisions. Returns ours that are later or unknown to it, for the leader to hear of."""
        told: dict[str, KeyRecord] = {}
        for name, value in rows:
            record = record_of(name, value)
            known = self.records.get(name)
            if record is None or record.role != "client":
                continue
            told[name] = record
            if known is None or known.state == "pending" or known.decided < record.decided:
                self._put(replace(record, address=known.address if known else ""))
        return [
            {"name": record.name, **record.stored()}
            for record in self._decided()
            if record.name not in told or told[record.name].decided < record.decided
        ]

    def is_news(self, told: dict[str, Value]) -> bool:
        """A decision that another manager tells of: is it later than what we know?"""
        record = record_of(str(told.get("name")), told)
        known = self.records.get(record.name) if record else None
        return record is not None and (known is None or known.decided < record.decided)

    def rows(self) -> list[tuple[str, str, dict[str, Value]]]:
        """What a standby must know: decisions about clients. What lies in folders is each host's own affair."""
        return [("key", record.name, record.stored()) for record in self._decided()]

    def _decided(self) -> list[KeyRecord]:
        return [r for r in self.records.values() if r.state != "pending" and r.role == "client" and r.who != LOCAL]

    def _trust(self, record: KeyRecord) -> None:
        if record.state == "removed":
            self._c.out.append(Trust(record.name, b"", record.role, None))
        else:
            self._c.out.append(Trust(record.name, record.key, record.role, record.state))

    def _put(self, record: KeyRecord, token: str = "") -> None:
        self.records[record.name] = record
        self._trust(record)
        self._c.out.append(Persist("key", record.name, record.stored(), token))


def _digits(print_of: str) -> str:
    """A fingerprint as people may type it."""
    return "".join(print_of.split()).replace(":", "").lower()


def record_of(name: str, value: dict[str, Value]) -> KeyRecord | None:
    """Checks what came from disk or from another manager."""
    try:
        key = bytes.fromhex(str(value.get("key")))
        state, role = value.get("state"), value.get("role")
        first_seen, decided = float(value.get("first_seen") or 0.0), float(value.get("decided") or 0.0)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    if len(key) != KEY_BYTES or not valid_address(name):
        return None
    if state not in ("accepted", "rejected", "removed") or role not in ("client", "manager"):
        return None
    return KeyRecord(name, key, role, state, first_seen, decided, str(value.get("who") or ""))  # type: ignore[arg-type]
