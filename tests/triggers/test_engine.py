"""What the manager and vmctl get from the engine, beyond the stories in scenarios/."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from common.config.load import parse_triggers
from common.config.model import ManagerConfig, TriggerConfig
from common.protocol import Reading
from tests.triggers.world import WALL_S, World
from vmmanager.events import CodeDone, Moment, Note, Persist, Record, RunCode, Stored
from vmmanager.state import Farm
from vmmanager.triggers.effects import Act, Answer, Effect, Tell
from vmmanager.triggers.engine import Engine
from vmmanager.triggers.trial import EPOCH_S, Rehearsal, SampleFault, parse_samples, try_out

HOT = """
[hot]
each = g
expr = { client.load > 8 }
cmd = { sender.send_execute("cool", {"by": client.load}) }
on_update_check = yes
"""


def world(text: str = HOT, **keys: Any) -> World:
    made = World(tuple(replace(one, **keys) for one in parse_triggers(text)), names=("m1",))
    made.lead("m1")
    return made


def ask(of: World, op: str, **args: Any) -> Answer:
    node = of.nodes["m1"]
    answer = node.engine.answer(op, args, "alice", node.farm, of.now)
    of.carry_out(node, list(answer.effects))
    of.look()
    return answer


def result(of: World, op: str, **args: Any) -> Any:
    answer = ask(of, op, **args)
    assert answer.body["ok"], answer.body
    return answer.body["result"]


def notes(effects: list[Effect]) -> list[str]:
    return [effect.text for effect in effects if isinstance(effect, Note)]


# --- only what has changed is evaluated -------------------------------------------------------------------------------


class Counting:
    """A guard that counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, budget_s: float, function: Callable[..., Any], *arguments: Any) -> Any:
        self.calls += 1
        return function(*arguments)


def evaluations(expr: str, change: Callable[[Farm], object], **keys: Any) -> int:
    """How often the expression is evaluated because of one change."""
    (config,) = parse_triggers(f"[t]\nexpr = {{ {expr} }}\non_update_check = yes\n")
    count, farm = Counting(), Farm()
    for name in ("x1", "x2"):
        farm.heard(name, f"#{name}", WALL_S)
        farm.introduce(name, ("g",), "", "", ())
        for prop in ("load", "other"):
            farm.read(name, Reading(name=prop, value=1), WALL_S, 10, 1000)
    engine = Engine((replace(config, **keys),), ManagerConfig("m1", grace_s=0), Moment(WALL_S, 0), count)
    engine.evaluate(farm, Moment(WALL_S, 0), 0.0)
    before = count.calls
    change(farm)
    engine.evaluate(farm, Moment(WALL_S + 1, 1), 0.0)
    return count.calls - before


def reads(name: str, prop: str) -> Callable[[Farm], object]:
    return lambda farm: farm.read(name, Reading(name=prop, value=2), WALL_S + 1, 10, 1000)


@pytest.mark.parametrize(
    ("expr", "keys", "change", "times"),
    [
        ("client.load > 8", {"each": "g"}, reads("x1", "load"), 1),
        ("client.load > 8", {"each": "g"}, reads("x1", "other"), 0),
        ("client.load > 8", {"each": "g", "on_update_check": False, "ticks": 60.0}, reads("x1", "load"), 0),
        ("client.load > 8 and client.other > 8", {"each": "g"}, reads("x1", "other"), 0),
        ("avg(client, 'load', 60) > 8", {"each": "g"}, reads("x2", "load"), 1),
        ("client.active_timestamp > 8", {"each": "g"}, lambda farm: farm.heard("x1", "#x1", WALL_S + 1), 1),
        ("manager.clients['x1'].load > 8", {}, reads("x2", "load"), 0),
        ("len(manager.clients) > 8", {}, reads("x1", "load"), 0),
        ("len(manager.clients) > 8", {}, lambda farm: farm.heard("x3", "#x3", WALL_S + 1), 1),
        ("len(manager.groups['g'].values()) > 8", {}, reads("x1", "other"), 1),
        ("len(manager.groups['none'].values()) > 8", {}, reads("x1", "other"), 0),
        ("len(manager.groups['none'].values()) > 8", {}, lambda f: f.introduce("x1", ("none",), "", "", ()), 1),
        ("any(c.load > 8 for c in manager.clients.values())", {}, lambda farm: farm.heard("x1", "#x1", WALL_S + 1), 1),
        ("len(manager.view.members) > 8", {}, lambda farm: farm.changed.add(("view",)), 1),
    ],
)  # fmt: skip
def test_an_update_evaluates_only_what_reads_it(
    expr: str, keys: dict[str, Any], change: Callable[[Farm], object], times: int
) -> None:
    assert evaluations(expr, change, **keys) == times


def test_an_expression_over_a_large_farm_is_not_evaluated_at_each_piece_of_news() -> None:
    count, farm = Counting(), Farm()
    (config,) = parse_triggers("[t]\nexpr = { any(c.load > 8 for c in manager.clients.values()) }\non_update_check = yes\n")
    engine = Engine((config,), ManagerConfig("m1", grace_s=0), Moment(WALL_S, 0), count)
    for number in range(2000):
        farm.heard(f"x{number}", f"#x{number}", WALL_S)
    for step in range(200):
        farm.heard(f"x{step}", f"#x{step}", WALL_S)
        engine.evaluate(farm, Moment(WALL_S + step / 100, step / 100), 0.0)
    assert count.calls <= 5  # within two seconds
    wake = engine.next_wake()
    assert wake is not None
    assert wake <= 2.5


# --- operators --------------------------------------------------------------------------------------------------------


def test_a_silence_is_answered_when_it_is_on_disk_and_outlives_a_restart() -> None:
    made = world()
    made.tell("x1", "load", 1)
    answer = ask(made, "silence", what="client:x1", why="new fan", until=made.now.wall + 100)
    assert answer.wait in [e.token for e in answer.effects if isinstance(e, Persist)]
    made.kill(made.nodes["m1"])
    made.start("m1")
    made.lead("m1")
    made.tell("x1", "load", 9)
    assert not made.ran
    row = result(made, "trigger", name="hot", subject="x1")["subjects"][0]
    assert "held: silenced by alice: new fan" in row["why"]
    made.advance(101)
    assert len(made.ran) == 1, "what is due fires when the silence is over"
    assert result(made, "silences") == []


@pytest.mark.parametrize(
    ("op", "args", "code"),
    [
        ("silence", {"what": "hto", "until": WALL_S + 9}, "no-such"),
        ("silence", {"what": "client:nobody", "until": WALL_S + 9}, "no-such"),
        ("silence", {"what": "group:nobody", "until": WALL_S + 9}, "no-such"),
        ("silence", {"what": "host:x1", "until": WALL_S + 9}, "usage"),
        ("silence", {"what": "hot", "until": WALL_S - 9}, "usage"),
        ("silence", {"what": "hot", "until": float("nan")}, "usage"),
        ("silence", {"what": "hot", "until": True}, "usage"),
        ("silence", {"what": "hot", "until": WALL_S * 1000}, "usage"),
        ("silence", {"until": WALL_S + 9}, "usage"),
        ("unsilence", {"id": "s99"}, "no-such"),
        ("trigger", {"name": "hto"}, "no-such"),
        ("trigger", {"name": "hot", "subject": "x9"}, "no-such"),
        ("trigger", {}, "usage"),
        ("trigger-enable", {"name": "hot"}, "usage"),
        ("nonsense", {}, "unknown-op"),
    ],
)
def test_a_wrong_request_gets_a_sentence_and_changes_nothing(op: str, args: dict[str, Any], code: str) -> None:
    made = world()
    answer = ask(made, op, **args)
    assert (answer.body["ok"], answer.body["code"]) == (False, code)
    assert answer.body["error"]
    assert not answer.effects


def test_a_disabled_trigger_does_nothing_until_it_is_enabled() -> None:
    made = world()
    result(made, "trigger-enable", name="hot", enabled=False)
    made.tell("x1", "load", 9)
    assert not made.ran
    assert result(made, "triggers")[0]["why"] == "disabled by alice"
    made.kill(made.nodes["m1"])
    made.start("m1")
    made.lead("m1")
    made.tell("x1", "load", 9)
    assert not made.ran, "an operator's word outlives a restart"
    result(made, "trigger-enable", name="hot", enabled=True)
    assert len(made.ran) == 1


def test_a_trigger_shows_its_firings_with_values_and_outcome() -> None:
    made = world()
    made.tell("x1", "load", 9)
    shown = result(made, "trigger", name="hot")
    (firing,) = shown["firings"]
    assert firing["operands"] == {"x1.load": 9}
    assert firing["wishes"][0]["arguments"]["parameters"] == {"by": 9}
    assert firing["outcome"] == "ok"
    assert shown["source"]["expr"] == "client.load > 8"
    assert shown["subjects"][0]["why"] == "true: x1.load = 9"


# --- code -------------------------------------------------------------------------------------------------------------


def run_once(cmd: str, **values: Any) -> CodeDone:
    made = world(f"[t]\neach = g\nexpr = {{ client.load > 8 }}\ncmd = {{\n    {cmd}\n}}\non_update_check = yes\n")
    made.tell("x1", "load", 9)
    for name, value in values.items():
        made.tell("x1", name, value)
    node = made.nodes["m1"]
    return node.engine.run_code(RunCode("f", "t", "x1", "cmd", 1.0), node.farm, made.now)


@pytest.mark.parametrize(
    ("cmd", "error"),
    [
        ("nonsense()", "triggers:5: [t] cmd: NameError: name 'nonsense' is not defined"),
        ("sender.send_execute('x', {'v': client.none})", "v: unknown (x1 has no none) cannot be sent"),
        ("sender.send_execute('x', {'v': open})", "parameters"),
        ("sender.send_execute('x', to=[])", "to is an empty list"),
        ("sender.send_execute('', to='all')", "command = ''"),
        ("sender.send_execute('x', to=3)", "to = 3"),
        ("notify('x', 'loud')", "severity 'loud'"),
        ("failover(None)", "vm = None"),
        ("if client.none > 3: pass", "UnknownUsed: x1 has no none"),
        ("client.load = 3", "AttributeError"),
        ("[notify('x') for _ in range(10_001)]", "more than 10000 wishes"),
    ],
)
def test_a_fault_in_cmd_is_a_sentence_with_the_line(cmd: str, error: str) -> None:
    done = run_once(cmd)
    assert error in done.error
    assert done.error.startswith("triggers:5: [t] cmd")


def test_code_that_fails_half_way_does_nothing_at_all() -> None:
    made = world(HOT.replace("})", "}); 1 / 0"))
    made.tell("x1", "load", 9)
    assert not made.acted
    (firing,) = result(made, "trigger", name="hot")["firings"]
    assert "ZeroDivisionError" in firing["error"]
    assert firing["outcome"].endswith("none of its 1 wishes was carried out")


def test_what_code_prints_and_wishes_comes_back_in_order() -> None:
    done = run_once("print('a', 1, sep='-'); sender.send_get_property(['load', 'x']); failover('vm1'); exit()", ram=3)
    assert (done.printed, done.error) == (("a-1",), "")
    assert [(wish.verb, wish.targets, wish.arguments) for wish in done.effects] == [
        ("get_property", ("x1",), {"names": ["load", "x"]}),
        ("failover", (), {"vm": "vm1"}),
    ]


def test_code_over_its_budget_disables_its_trigger_until_it_is_changed() -> None:
    (config,) = parse_triggers(HOT)
    engine, farm = Engine((config,), ManagerConfig("m1", grace_s=0), Moment(WALL_S, 0)), Farm()
    farm.heard("x1", "#x1", WALL_S)
    farm.introduce("x1", ("g",), "", "", ())
    farm.read("x1", Reading(name="load", value=9), WALL_S, 10, 1000)
    (run,) = [e for e in engine.evaluate(farm, Moment(WALL_S, 0), 0.0) if isinstance(e, RunCode)]
    effects = engine.code_done(CodeDone(run.firing, (), (), "", True, 1.1), Moment(WALL_S + 1, 1))
    assert "trigger hot: disabled: its cmd ran for more than 1 s (budget_s)" in notes(effects)
    assert [e.verb for e in effects if isinstance(e, Tell)] == ["trigger-enable"]
    assert engine.counts()["disabled"] == 1
    changed = replace(config, budget_s=2.0)
    engine.configure((changed,), ManagerConfig("m1", grace_s=0), Moment(WALL_S + 2, 2))
    assert engine.counts()["disabled"] == 0


# --- reload, restart, disk --------------------------------------------------------------------------------------------


def reload(of: World, *triggers: TriggerConfig) -> None:
    node = of.nodes["m1"]
    of.carry_out(node, node.engine.configure(triggers, of.settings("m1"), of.now))
    of.look()


def test_a_reload_keeps_the_state_of_triggers_that_did_not_change() -> None:
    made = world(fire="once")
    made.tell("x1", "load", 9)
    (hot,) = made.triggers
    (other,) = parse_triggers("[other]\nexpr = { len(manager.clients) > 0 }\nticks = 5\n")
    reload(made, hot, other)
    made.tell("x1", "load", 10)
    assert [run.trigger for _, run in made.ran] == ["hot"]
    assert result(made, "trigger", name="other")["fired"] == 1
    reload(made, replace(hot, severity="critical"), other)
    made.tell("x1", "load", 11)
    assert [run.trigger for _, run in made.ran] == ["hot"], "the problem at hand has fired before the change"
    reload(made, other)
    made.tell("x1", "load", 1)
    assert [row["name"] for row in result(made, "triggers")] == ["other"]


def test_cooldown_and_max_actions_count_over_a_restart() -> None:
    made = world(cooldown_s=100.0, max_actions=1, max_actions_window_s=300.0)
    made.tell("x1", "load", 9)
    made.kill(made.nodes["m1"])
    made.advance(50)
    made.start("m1")
    made.lead("m1")
    made.tell("x1", "load", 9)
    made.tell("x2", "load", 9)
    made.advance(40)
    assert len(made.ran) == 1
    made.advance(300)
    made.tell("x1", "load", 9)
    assert len(made.ran) == 2


def test_a_full_disk_stops_no_firing_but_is_said() -> None:
    made = world()
    node = made.nodes["m1"]
    made.tell("x1", "load", 1)
    node.farm.read("x1", Reading(name="load", value=9), made.now.wall, 10, 1000)
    (run,) = [e for e in node.engine.evaluate(node.farm, made.now, 0.0) if isinstance(e, RunCode)]
    effects = node.engine.code_done(node.engine.run_code(run, node.farm, made.now), made.now)
    (token,) = [e.token for e in effects if isinstance(e, Persist) and e.token]
    effects = node.engine.stored(Stored(token, "disk full"), made.now)
    assert any("is not on disk (disk full)" in text for text in notes(effects))
    (told,) = [e for e in effects if isinstance(e, Tell)]
    effects = node.engine.heard(told.verb, told.arguments, True, True, made.now)
    assert [e.firing for e in effects if isinstance(e, Act)] == [run.firing]
    assert not node.engine.heard(told.verb, told.arguments, True, True, made.now), "heard twice, done once"


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("firing", {"id": 3}),
        ("firing", {"id": "a", "trigger": "hot", "at": "noon"}),
        ("firing", {"id": "a", "trigger": "hot", "at": 1.0, "wishes": [{"verb": "rm"}]}),
        ("silence", {"id": "s1"}),
        ("silence", {"id": "s1", "what": "", "until": 1e12}),
    ],
)
def test_rows_that_are_none_of_ours_are_left_out_with_a_note(table: str, row: dict[str, Any]) -> None:
    made = world()
    engine = made.nodes["m1"].engine
    for effects in (engine.restore(table, "k", row), engine.learn(table, "k", row, made.now)):
        assert any("left out" in text for text in notes(effects))
    made.tell("x1", "load", 9)
    assert len(made.ran) == 1


def test_the_history_is_bounded_but_keeps_what_a_problem_at_hand_needs() -> None:
    made = world(keep=3)
    for round_number in range(10):
        made.tell("x1", "load", 9 + round_number)
        made.advance(2)
    assert len([key for key in made.nodes["m1"].disk if key[0] == "firing"]) == 3
    assert len(result(made, "trigger", name="hot")["firings"]) == 3


def test_a_chatty_trigger_does_not_flood_the_event_history() -> None:
    said: list[Effect] = []
    (config,) = parse_triggers("[t]\nexpr = { True }\ncmd = { print('again', time()) }\nticks = 1\n")
    rehearsal = Rehearsal((config,), ManagerConfig("m1", grace_s=0), on_effect=lambda now, effect: said.append(effect))
    rehearsal.advance(EPOCH_S + 3600)
    assert len([e for e in said if isinstance(e, RunCode)]) == 3600
    assert len([e for e in said if isinstance(e, Record)]) < 10
    assert 1000 < len(notes(said)) < 2000
    assert any("more sentences of this trigger were left out" in text for text in notes(said))


# --- trials -----------------------------------------------------------------------------------------------------------


def test_a_trial_on_recorded_data_shows_what_would_fire_and_changes_nothing() -> None:
    made = world(HOT, enabled=False)
    for value in (1, 9, 3, 12):
        made.tell("x1", "load", value)
        made.advance(60)
    node = made.nodes["m1"]
    before = (result(made, "triggers"), dict(node.disk), set(node.farm.changed))
    rows = try_out(parse_triggers(HOT), node.farm, made.settings("m1"), made.now, history_s=3600)
    assert [(row["value"], row["would_fire"]) for row in rows if row["value"] != "unknown"] == [
        ("false", False), ("true", True), ("false", False), ("true", True),
    ]  # fmt: skip
    fired = [row for row in rows if row["would_fire"]]
    assert [row["wishes"][0]["arguments"]["parameters"] for row in fired] == [{"by": 9}, {"by": 12}]
    assert [round(row["at"] - WALL_S) for row in fired] == [60, 180]
    (now,) = try_out(parse_triggers(HOT), node.farm, made.settings("m1"), made.now)
    assert (now["value"], now["would_fire"], now["operands"]) == ("true", True, {"x1.load": 12})
    assert (result(made, "triggers"), dict(node.disk), set(node.farm.changed)) == before


def test_a_trial_on_written_samples() -> None:
    samples = parse_samples("0 x1 joins g\n0 x1 load = 9\n30 x1 load fails: gone\n")
    rows = try_out(parse_triggers(HOT), Farm(), ManagerConfig("m1"), Moment(WALL_S, 0), samples=samples, name="h*")
    assert [row["value"] for row in rows] == ["unknown", "true", "unknown"]
    assert rows[-1]["why"] == "unknown: load of x1 failed: gone; it was firing before"


@pytest.mark.parametrize("line", ["x x1 load = 3", "0 x1", "0 x1 load 3", "0 x1 load = 3 ticks=often", "0"])
def test_a_sample_that_cannot_be_read_is_named_with_its_line(line: str) -> None:
    with pytest.raises(SampleFault, match="line 2: .*" + line):
        parse_samples("# first\n" + line)
