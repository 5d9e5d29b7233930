"""What the parts of the engine share: the rules in order, silences, who leads, what time it is. Decides nothing."""

from __future__ import annotations

from common.config.model import ManagerConfig, TriggerConfig
from common.protocol import Value
from vmmanager.events import Moment, Note, Record
from vmmanager.state import Farm
from vmmanager.triggers import history
from vmmanager.triggers.agenda import Agenda
from vmmanager.triggers.effects import Effect
from vmmanager.triggers.rule import Rule, ordered
from vmmanager.triggers.silences import Silences
from vmmanager.triggers.states import Subject
from vmmanager.triggers.views import Views

PART = "triggers"


class Board:
    def __init__(self, settings: ManagerConfig, now: Moment) -> None:
        self.settings = settings
        self.started = now
        self.now = now
        self.rules: dict[str, Rule] = {}  # parents before children
        self.order: tuple[Rule, ...] = ()  # the same
        self.silences = Silences()
        self.overrides: dict[str, dict[str, Value]] = {}  # rows of table trigger, also of triggers that are gone
        self.agenda = Agenda()
        self.farm = Farm()
        self.views = Views(self.farm, settings.stale_factor)
        self.leading_since: float | None = None
        self.look_again: dict[Subject, bool] = {}  # to be evaluated; True: as if news had come

    @property
    def leading(self) -> bool:
        return self.leading_since is not None

    def attach(self, farm: Farm) -> None:
        """The farm to look at; it is the same object all along in a manager."""
        if farm is self.farm:
            return
        self.farm = farm
        self.views = Views(farm, self.settings.stale_factor)
        for rule in self.rules.values():
            self.bind(rule)

    def bind(self, rule: Rule) -> None:
        rule.bind(history.functions(self.views.reads), self.views)

    def arrange(self, rules: dict[str, Rule]) -> None:
        """Takes these as the rules from now on."""
        names = ordered({name: rule.config for name, rule in rules.items()})
        self.rules = {name: rules[name] for name in names}
        self.order = tuple(self.rules.values())
        for number, rule in enumerate(self.order):
            rule.number = number
            rule.parents = tuple(self.rules[name] for name in rule.config.depends_on if name in self.rules)
            rule.children = tuple(child for child in self.rules.values() if rule.name in child.config.depends_on)

    def members(self, config: TriggerConfig) -> list[str]:
        """Subjects that a trigger must have now."""
        if not config.each:
            return [""]
        return sorted(self.farm.clients if config.each == "clients" else self.farm.groups.get(config.each, {}))

    def subject(self, trigger: str, name: str) -> Subject | None:
        rule = self.rules.get(trigger)
        return None if rule is None else rule.subjects.get(name)

    def say(self, rule: Rule, text: str, *, level: str = "info", kind: str = "", subject: str = "") -> list[Effect]:
        """A Note, and a Record when `kind` is given, unless this trigger has talked too much already."""
        suppressed = rule.talk.take(self.now.mono)
        if suppressed is None:
            return []
        if suppressed:
            text += f" ({suppressed} more sentences of this trigger were left out)"
        said: list[Effect] = [Note(text, level, PART)]  # type: ignore[arg-type]
        if kind:
            said.append(Record(self.now.wall, kind, rule.name, text, {"subject": subject} if subject else {}))
        return said
