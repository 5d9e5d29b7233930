"""A firing, step by step: code, disk, standbys, wishes, outcome (docs/design/0001). Decides not when to fire.

No firing is lost and none doubled that the trigger's own rules forbid: what is acted upon was first heard back from the
group `managers`, and a repeat goes out under the same execution ids.
"""

from __future__ import annotations

from collections.abc import Iterator

from common.protocol import Value
from vmmanager.events import CodeDone, Note, Notify, Persist, Record, RunCode, Stored, Wish
from vmmanager.triggers import firing as firings
from vmmanager.triggers.board import PART, Board
from vmmanager.triggers.effects import Act, Effect, Tell
from vmmanager.triggers.firing import Firing, Phase
from vmmanager.triggers.rule import Rule
from vmmanager.triggers.states import Seen, Subject

RESUME_MAX_S = 300.0  # a firing older than this is not resumed by a new leader: what it saw is long past
TOKEN = "firing:"
SHARE_RETRY_S = 10.0
UNDONE = ("held:", "dropped:")  # outcomes of firings that the trigger's rules do not count
ASKING = frozenset({"get_property", "fetch_property"})  # a repeat of these does no harm


class Pipeline:
    def __init__(self, board: Board) -> None:
        self._board = board
        self.firings: dict[str, Firing] = {}
        self._last: dict[tuple[str, str], str] = {}  # trigger, subject -> the last firing that counts
        self._number = 0

    # --- the leader's own firings -------------------------------------------------------------------------------------------

    def start(self, subject: Subject, part: str) -> list[Effect]:
        """Step 1. All limits have been looked at."""
        board, rule, now = self._board, subject.rule, self._board.now
        self._number += 1
        firing = Firing(
            id=f"{board.settings.name}-{int(now.wall * 1000)}-{self._number}",
            trigger=rule.name,
            subject=subject.name,
            part="cmd" if part == "cmd" else "recovery_cmd",
            at=now.wall,
            by=board.settings.name,
            operands=firings.operands(*subject.operands),
            dry_run=rule.config.dry_run,
        )
        self.firings[firing.id] = firing
        effects = self._note_firing(rule, subject, firing)
        if (rule.cmd if part == "cmd" else rule.recovery_cmd) is None:
            return effects + self._ended(firing, rule)
        subject.running = firing.id
        subject.last_run = now.mono
        effects.append(RunCode(firing.id, rule.name, subject.name, firing.part, rule.config.budget_s))
        return effects

    def _note_firing(self, rule: Rule, subject: Subject | None, firing: Firing) -> list[Effect]:
        """What the rules of the trigger must know of it."""
        rule.firings.append(firing.id)
        rule.last_fired = max(rule.last_fired, firing.at)
        rule.fired += 1
        self._last[firing.trigger, firing.subject] = firing.id
        if firing.part == "cmd" and rule.config.max_actions:
            rule.window(self._board.now)
            rule.starts.append(self._mono(firing))
        if subject is not None:
            self._imprint(subject, firing)
        return self._forget_old(rule)

    def _imprint(self, subject: Subject, firing: Firing) -> None:
        subject.last_firing, subject.last_at = firing.id, firing.at
        if firing.part == "cmd":
            subject.fired = True
            subject.cooldown_until = self._mono(firing) + subject.rule.config.cooldown_s

    def _mono(self, firing: Firing) -> float:
        return self._board.now.mono - max(0.0, self._board.now.wall - firing.at)

    def recall(self, subject: Subject) -> None:
        """A client came whose past may be known from before a restart, or from the leader."""
        firing = self.firings.get(self._last.get((subject.rule.name, subject.name), ""))
        if firing is None:
            return
        self._imprint(subject, firing)
        if firing.part == "cmd" and not firing.recovered:
            subject.become(Seen.LASTING, lambda: f"fired by {firing.by}", self._board.now)
        else:
            subject.fired = False

    def _forget_old(self, rule: Rule) -> list[Effect]:
        effects: list[Effect] = []
        excess = len(rule.firings) - max(rule.config.keep, 1)
        for id in list(rule.firings) if excess > 0 else ():
            firing = self.firings.get(id)
            if firing is not None and self._is_needed(firing):
                continue
            rule.firings.remove(id)
            if self.firings.pop(id, None) and firing is not None and not firing.light:
                effects.append(Persist("firing", id, None))
            excess -= 1
            if excess == 0:
                break
        return effects

    def _is_needed(self, firing: Firing) -> bool:
        """It is under way, or says that a problem at hand has fired already."""
        last = self._last.get((firing.trigger, firing.subject)) == firing.id
        return firing.phase is not Phase.DONE or (last and not firing.recovered and not firing.light)

    def code_done(self, done: CodeDone) -> list[Effect]:
        """Step 2: the wishes are known."""
        firing = self.firings.get(done.firing)
        if firing is None or firing.phase is not Phase.RUNNING:
            return []
        rule, subject = self._of(firing)
        if subject is not None:
            subject.running = ""
            if subject.asked_again:
                subject.asked_again = False
                self._board.look_again[subject] = True
        firing.ended(done)
        if rule is None or subject is None:
            return self._finish(firing, "dropped: the trigger was changed or the client went meanwhile")
        effects = self._print(rule, firing)
        if done.over_budget:
            return effects + self._over_budget(rule, firing, done.elapsed_s)
        if done.error:
            dropped = f"; none of its {len(firing.wishes)} wishes was carried out" if firing.wishes else ""
            firing.wishes = ()
            return effects + self._finish(firing, f"error: {done.error}{dropped}", level="error")
        return effects + self._spare_silenced(firing) + self._ended(firing, rule)

    def _print(self, rule: Rule, firing: Firing) -> list[Effect]:
        effects: list[Effect] = []
        of = f" of {firing.subject}" if firing.subject else ""
        for line in firing.printed:
            effects += self._board.say(rule, f"trigger {rule.name}{of} prints: {line}")
        return effects

    def _over_budget(self, rule: Rule, firing: Firing, elapsed_s: float) -> list[Effect]:
        firing.wishes = ()
        why = f"its {firing.part} ran for more than {rule.config.budget_s:g} s (budget_s)"
        return self._finish(firing, f"stopped: {why}", level="error") + self.disable(rule, why)

    def disable(self, rule: Rule, why: str) -> list[Effect]:
        """By ourselves, until its code is changed or an operator enables it."""
        row: dict[str, Value] = {
            "name": rule.name, "enabled": False, "why": why, "who": "", "at": self._board.now.wall,
            "fingerprint": rule.fingerprint,
        }  # fmt: skip
        self._board.overrides[rule.name] = row
        rule.override_by(row)
        text = f"trigger {rule.name}: disabled: {why}"
        return [
            Note(text, "error", PART),
            Record(self._board.now.wall, "trigger", rule.name, text),
            Persist("trigger", rule.name, row),
            *((Tell("trigger-enable", row),) if self._board.leading else ()),  # a standby speaks for itself only
        ]

    def _spare_silenced(self, firing: Firing) -> list[Effect]:
        """Takes silenced clients out of what a trigger of the whole farm wants to act upon."""
        silenced = self._board.silences.clients(self._board.farm)
        if not silenced:
            return []
        effects: list[Effect] = []
        kept: list[Wish] = []
        for wish in firing.wishes:
            targets = firings.clients_of((wish,), self._board.farm.groups, self._board.farm.clients)
            spared = sorted(targets & silenced.keys())
            if not spared:
                kept.append(wish)
                continue
            left = tuple(sorted(targets - silenced.keys()))
            if left:
                kept.append(Wish(wish.verb, left, wish.arguments))
            text = f"trigger {firing.trigger}: {wish.verb} spares {', '.join(spared)}: {silenced[spared[0]]}"
            effects.append(Note(text, "info", PART))
        firing.wishes = tuple(kept)
        return effects

    def _ended(self, firing: Firing, rule: Rule) -> list[Effect]:
        if not self._board.leading:
            self._undo(firing)
            return self._finish(firing, "dropped: this manager leads no longer")
        over = self._over_share(firing, rule)
        if over:
            subject = self._board.subject(firing.trigger, firing.subject)
            if subject is not None:
                subject.fired = False
                subject.hold = over
                self._board.agenda.wake(subject, self._board.now.mono + SHARE_RETRY_S)
            return self._finish(firing, f"held: {over}", level="warning")
        if self._is_light(firing, rule):
            return self._act(firing, light=True)
        firing.phase = Phase.STORING
        return [Persist("firing", firing.id, firing.row(), TOKEN + firing.id)]

    def _is_light(self, firing: Firing, rule: Rule) -> bool:
        """It acts upon nobody, and no rule of the trigger depends on that it fired: neither disk nor standbys need to know.
        The prototype's alive check fires with every piece of news, its client query twice a minute."""
        config = rule.config
        acts = any(wish.verb not in ASKING for wish in firing.wishes)
        needed = config.fire == "once" or config.cooldown_s or config.max_actions or rule.has_recovery
        return not (acts or needed or firing.part == "recovery_cmd" or rule.recovery_cmd)

    def _over_share(self, firing: Firing, rule: Rule) -> str:
        """Why these wishes touch too much of the fleet."""
        share = rule.config.max_share
        if share >= 1.0:
            return ""
        rule.window(self._board.now)
        farm = self._board.farm
        wanted = firings.clients_of(firing.wishes, farm.groups, farm.clients)
        if not wanted:
            return ""
        touched = wanted.union(*(clients for _, clients in rule.acted))
        allowed = share_of(share, len(farm.clients))
        if len(touched) > allowed:
            return (
                f"it would act upon {len(touched)} of {len(farm.clients)} clients within "
                f"{rule.config.max_actions_window_s:g} s, max_share allows {allowed}"
            )
        rule.acted.append((self._board.now.mono, frozenset(wanted)))
        return ""

    def stored(self, stored: Stored) -> list[Effect]:
        """Step 3: on disk, now to the standbys. A disk that fails does not stop us: the standbys remember too."""
        firing = self.firings.get(stored.token.removeprefix(TOKEN)) if stored.token.startswith(TOKEN) else None
        if firing is None or firing.phase is not Phase.STORING:
            return []
        effects: list[Effect] = []
        if stored.error:
            text = f"trigger {firing.trigger}: firing {firing.id} is not on disk ({stored.error}); it goes on without"
            effects.append(Note(text, "error", PART))
        if not self._board.leading:
            self._undo(firing)
            return effects + self._finish(firing, "dropped: this manager leads no longer")
        firing.phase = Phase.TELLING
        return [*effects, Tell("firing", {"firing": firing.row()})]

    def _act(self, firing: Firing, *, light: bool = False) -> list[Effect]:
        """Step 4."""
        firing.phase, firing.light = Phase.ACTING, light
        if firing.dry_run:
            return self._finish(firing, "dry run: nothing was done")
        effects: list[Effect] = [] if light else [Persist("firing", firing.id, firing.row())]
        rule = self._board.rules.get(firing.trigger)
        severity = rule.config.severity if rule is not None else "warning"
        for wish in firing.notifications():
            text, own = str(wish.arguments.get("text", "")), str(wish.arguments.get("severity") or severity)
            effects.append(Notify(text, own, firing.trigger, firing.subject))
        planned = tuple(firing.planned())
        if not planned:
            return [one for one in effects if not isinstance(one, Persist)] + self._finish(firing, "ok")
        return [*effects, Act(firing.id, firing.trigger, firing.subject, planned)]

    def acted(self, firing_id: str, outcome: str) -> list[Effect]:
        firing = self.firings.get(firing_id)
        if firing is None or firing.phase is not Phase.ACTING:
            return []
        return self._finish(firing, outcome or "ok")

    def _finish(self, firing: Firing, outcome: str, *, level: str = "info") -> list[Effect]:
        light = firing.light
        told = firing.phase in (Phase.TELLING, Phase.ACTING) and not light
        firing.outcome, firing.phase = outcome, Phase.DONE
        effects = [] if light and outcome == "ok" else self._record(firing, level)
        if not light:
            effects.append(Persist("firing", firing.id, firing.row()))
        if told:
            effects.append(Tell("fired", {"id": firing.id, "outcome": outcome, "recovered": firing.recovered}))
        return effects

    def _record(self, firing: Firing, level: str) -> list[Effect]:
        of = f" of {firing.subject}" if firing.subject else ""
        what = "fired" if firing.part == "cmd" else "ran its recovery_cmd"
        why = firings.sentence(firing.operands)
        text = f"trigger {firing.trigger}{of}: {what} ({why}): {firing.outcome}" if why else (
            f"trigger {firing.trigger}{of}: {what}: {firing.outcome}"
        )  # fmt: skip
        rule = self._board.rules.get(firing.trigger)
        if rule is None or (firing.wishes and not firing.light):
            record = Record(self._board.now.wall, "firing", firing.trigger, text, {"subject": firing.subject, "id": firing.id})
            return [Note(text, level, PART), record]  # type: ignore[arg-type]
        return self._board.say(rule, text, level=level, kind="firing", subject=firing.subject)

    def recovered(self, subject: Subject, *, gone: bool = False) -> list[Effect]:
        """The problem is over: after a restart or a change of leaders its next occurrence is a new one."""
        firing = self.firings.get(subject.last_firing)
        if firing is None or firing.recovered or not self._board.leading:
            return []
        if subject.rule.recovery_cmd is not None and not gone:
            return []  # the firing of the recovery code says it
        firing.recovered = self._board.now.wall
        if firing.phase is not Phase.DONE or self._is_light(firing, subject.rule):
            return []
        fired: dict[str, Value] = {"id": firing.id, "outcome": firing.outcome, "recovered": firing.recovered}
        return [Persist("firing", firing.id, firing.row()), Tell("fired", fired)]

    def demoted(self) -> list[Effect]:
        """This manager leads no longer: what has not reached the others did not happen."""
        effects: list[Effect] = []
        for firing in list(self.firings.values()):
            if firing.phase in (Phase.RUNNING, Phase.STORING):
                self._undo(firing)
                effects += self._finish(firing, "dropped: this manager leads no longer")
        for subject in (one for rule in self._board.order for one in rule.subjects.values() if one.raised):
            last = self.firings.get(subject.last_firing)
            if not subject.fired or last is None or self._is_light(last, subject.rule):
                subject.become(Seen.FALSE, lambda: "this manager leads no longer", self._board.now)
            subject.recovering = False
        return effects

    def _undo(self, firing: Firing) -> None:
        rule, subject = self._of(firing)
        if rule is None or subject is None:
            return
        subject.running = ""
        self._last.pop((firing.trigger, firing.subject), None)
        if firing.part == "cmd" and subject.last_firing == firing.id:
            subject.fired = False
            subject.cooldown_until = float("-inf")
            if rule.config.max_actions and rule.starts:
                rule.starts.pop()

    # --- what other managers, or we before a restart, have fired --------------------------------------------------------------

    def heard_firing(self, row: Value, own: bool) -> list[Effect]:
        """Step 4, or a standby's part of step 3. Raises ValueError."""
        if not isinstance(row, dict):
            raise ValueError("not a firing")
        told = firings.from_row(row)
        if own:
            firing = self.firings.get(told.id)
            if firing is None or firing.phase is not Phase.TELLING:
                return []
            firing.phase = Phase.ACTING
            return self._act(firing) if self._board.leading else []
        known = self.firings.get(told.id)
        if known is not None and not known.outcome.startswith("dropped:"):
            more = told.phase is Phase.DONE and (known.phase is not Phase.DONE or told.recovered > known.recovered)
            return self._learn_end(known, told.outcome, told.recovered) if more else []
        if known is not None and told.trigger in self._board.rules:
            self._board.rules[told.trigger].firings.remove(told.id)
        if told.phase is not Phase.DONE:
            told.phase = Phase.ACTING
        return [*self.remember(told), Persist("firing", told.id, told.row())]

    def heard_fired(self, arguments: dict[str, Value], own: bool) -> list[Effect]:
        firing = self.firings.get(str(arguments.get("id")))
        if own or firing is None:
            return []
        recovered = arguments.get("recovered")
        at = float(recovered) if isinstance(recovered, (int, float)) else 0.0
        return self._learn_end(firing, str(arguments.get("outcome", "")), at)

    def _learn_end(self, firing: Firing, outcome: str, recovered: float) -> list[Effect]:
        """How it ended, and when its problem was over, as the leader says; we may have been away meanwhile."""
        firing.outcome, firing.phase, firing.recovered = outcome, Phase.DONE, recovered
        if firing.recovered and self._last.get((firing.trigger, firing.subject)) == firing.id:
            self._forget_problem(firing)
        return [Persist("firing", firing.id, firing.row())]

    def restore(self, told: Firing) -> None:
        """From our own disk at start. One that was stored but perhaps never told counts only where nobody else could have
        been told and fired instead."""
        if told.phase in (Phase.STORING, Phase.TELLING) and len(self._board.settings.managers) > 1:
            told.phase, told.outcome = Phase.DONE, "dropped: it did not reach the other managers"
        self.remember(told)

    def remember(self, told: Firing) -> list[Effect]:
        """A firing of another manager or from before a restart: cooldown, once and max_actions count it."""
        self.firings[told.id] = told
        number = told.id.rpartition("-")[2]
        if told.by == self._board.settings.name and number.isdecimal():
            self._number = max(self._number, int(number))  # no id twice, also when the clock was set back meanwhile
        self._supersede(told)
        rule, subject = self._of(told)
        if rule is None:
            return []
        last = self.firings.get(self._last.get((told.trigger, told.subject), ""))
        if told.outcome.startswith(UNDONE) or (last is not None and last.at > told.at):
            rule.firings.append(told.id)
            return []
        effects = self._note_firing(rule, None, told)
        if subject is not None:
            self._forget_problem(told)
            self.recall(subject)
        return effects

    def _forget_problem(self, told: Firing) -> None:
        subject = self._board.subject(told.trigger, told.subject)
        if subject is not None and subject.raised:
            subject.become(Seen.FALSE, lambda: "recovered, says the leader", self._board.now)

    def _supersede(self, told: Firing) -> None:
        """What we had stored but not told anybody did not happen once another fired for the same."""
        for firing in self.firings.values():
            same = (firing.trigger, firing.subject, firing.part) == (told.trigger, told.subject, told.part)
            if same and firing.id != told.id and firing.at <= told.at and firing.phase in (Phase.STORING, Phase.TELLING):
                firing.phase, firing.outcome = Phase.DONE, "dropped: it did not reach the other managers"

    def promoted(self) -> list[Effect]:
        """Step 5: what was told but not done is done again, under the same execution ids."""
        effects: list[Effect] = []
        for firing in sorted(self.firings.values(), key=lambda one: (one.at, one.id)):
            if firing.light or firing.phase not in (Phase.STORING, Phase.TELLING, Phase.ACTING):
                continue
            age_s = self._board.now.wall - firing.at
            if age_s > RESUME_MAX_S:
                firing.phase = Phase.ACTING
                effects += self._finish(firing, f"given up: {age_s:.0f} s old when this manager began to lead", level="warning")
                continue
            text = f"trigger {firing.trigger}: firing {firing.id} of {firing.by} is resumed"
            effects += [Note(text, "info", PART), *self._act(firing)]
        return effects

    def rows(self) -> Iterator[tuple[str, str, dict[str, Value]]]:
        for firing in self.firings.values():
            if firing.phase in (Phase.ACTING, Phase.DONE) and not firing.light:
                yield "firing", firing.id, firing.row()

    def _of(self, firing: Firing) -> tuple[Rule | None, Subject | None]:
        return self._board.rules.get(firing.trigger), self._board.subject(firing.trigger, firing.subject)


def share_of(share: float, clients: int) -> int:
    """How many clients a share of the fleet is; at least one, or small farms could never act."""
    return max(1, int(share * clients))
