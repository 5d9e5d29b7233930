"""Decisions of the leader as each manager applies them, and the state that a newcomer is told. Pure; peers.py has the order.

Kinds: keys (applied when our own copy comes back), silences and switched triggers (applied by the leader's engine when they
were asked for, by the others when they hear of them), firings (docs/design/0001). docs/design/0005-standbys.md says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.protocol import ClbControl, Value
from vmmanager.environments.book import VERB as ENVIRONMENT_ROW
from vmmanager.events import Asked, Persist
from vmmanager.merging import Ended, beyond, news, rows_of
from vmmanager.peers import Row
from vmmanager.triggers.effects import Answer, Tell
from vmmanager.triggers.engine import Engine

if TYPE_CHECKING:
    from vmmanager.manager import Manager

ENGINE_TABLES = ("trigger", "firing", "silence")
ENDED_ROW = ("fact", "ended silences")


class Decisions:
    """The manager's side of Peers: `decided`, `told`, `rows`."""

    def __init__(self, manager: Manager) -> None:
        self._m = manager
        self.ended_silences = Ended()
        self._silences_made: dict[str, Value] = {}

    def ask_engine(self, asked: Asked) -> Answer:
        """An operation of vmctl on triggers and silences."""
        m = self._m
        if asked.op == "unsilence":
            rows = m.engine.rows()
            self._silences_made = {key: value.get("created", 0.0) for table, key, value in rows if table == "silence"}
        return m.engine.answer(asked.op, asked.args, asked.who, m.context.farm, m.context.now)

    def tell(self, tell: Tell) -> None:
        """To all managers. Of a silence that ends also when it was made: its id may be that of another, made while apart."""
        arguments = tell.arguments
        if tell.verb == "unsilence":
            arguments = {**arguments, "created": self._silences_made.pop(str(arguments.get("id")), 0.0)}
        self._m.peers.tell(tell.verb, arguments)

    def decided(self, sender: str, verb: str, arguments: dict[str, Value]) -> None:
        """One decision of the leader, in the order in which all managers hear it."""
        m = self._m
        own = sender == m.context.name and not arguments.get("offered")  # an offer was not applied when it was asked for
        if verb == "key":
            address = m.keys.apply(arguments, str(arguments.get("token", "")) if own else "")
            if address:
                m.roll.greet([address], leading=m.leadership.leading)
            return
        if verb in ("lease-host", "lease-farm"):
            m.failover.decided(verb, arguments, own=sender == m.context.name)
            return
        if verb in ("vm", "vm-host"):
            m.machines.decided(verb, arguments, own=sender == m.context.name)
            return
        if verb == ENVIRONMENT_ROW:
            m.environments.book.decided(arguments, own=sender == m.context.name)
            return
        if verb == "unsilence":
            self.ended_silences.note(str(arguments.get("id")), arguments, m.context.now.wall)
            self._keep_ended()
        m.carry(m.engine.heard(verb, arguments, own, m.leadership.leading, m.context.now))

    # --- one manager joins another --------------------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        """What a newcomer is told."""
        ended = self.ended_silences.row()
        return [
            *self._m.keys.rows(),
            *self._m.engine.rows(),
            *self._m.machines.rows(),
            *self._m.environments.book.rows(),
            *self._m.failover.rows(),
            *([(*ENDED_ROW, ended)] if ended else []),
        ]

    def told(self, rows: list[Row]) -> None:
        """The leader's rows take the place of ours; what was decided here later than there goes back to it."""
        m = self._m
        keys: list[Value] = [*m.keys.merge([(key, value) for table, key, value in rows if table == "key"])]
        for row in rows:
            if row[:2] == ENDED_ROW:
                self.ended_silences.learn(row[2])
                self._keep_ended()
        own = beyond(m.engine.rows(), rows, self.ended_silences, m.context.now.wall)
        address = next((address for address, name in m.peers.names.items() if name == m.leadership.leader), "")
        if (keys or own) and address:
            offer: dict[str, Value] = {"keys": keys, "rows": [list(row) for row in own]}
            m.context.send(ClbControl(verb="offer", values=offer), (m.leadership.leader,), (address,))
        m.machines.told(rows)
        m.environments.book.told(rows)
        m.failover.told(rows)
        self._replace_rules([row for row in rows if row[0] in ENGINE_TABLES])
        m.context.note(f"manager {m.context.name}: has the state of {m.leadership.leader} ({len(rows)} rows)")
        m.roll.fetch_all()

    def offered(self, sender: str, values: dict[str, Value]) -> None:
        """What a newcomer knows beyond what we told it."""
        m = self._m
        told = values.get("keys")
        for record in told if isinstance(told, list) else ():
            if isinstance(record, dict) and m.keys.is_news(record):
                m.peers.tell("key", record)
        for verb, arguments in news(
            rows_of(values.get("rows")), m.engine.rows(), self.ended_silences, sender, m.context.now.wall
        ):
            m.peers.tell(verb, arguments)

    def _replace_rules(self, rows: list[Row]) -> None:
        """Silences and triggers as the leader has them; firings of both, because none may be forgotten.

        Where nothing of ours has to go, the engine keeps what it has watched so far."""
        m = self._m
        told = {(table, key) for table, key, _ in rows}
        old = [row for row in m.engine.rows() if row[:2] not in told]
        if all(table == "firing" for table, _, _ in old):
            for table, key, value in rows:
                m.carry(m.engine.learn(table, key, value, m.context.now))
            return
        m.engine = Engine(m.context.config.triggers, m.context.config, m.context.now, m.guard)
        for table, key, value in [*rows, *(row for row in old if row[0] == "firing")]:
            m.carry(m.engine.restore(table, key, value))
        for table, key, value in rows:
            m.context.out.append(Persist(table, key, value))  # type: ignore[arg-type]
        for table, key, _ in old:
            if table != "firing":
                m.context.out.append(Persist(table, key, None))  # type: ignore[arg-type]

    def _keep_ended(self) -> None:
        self._m.context.out.append(Persist("fact", ENDED_ROW[1], self.ended_silences.row()))
