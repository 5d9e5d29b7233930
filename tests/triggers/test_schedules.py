"""The rules of a trigger hold under any order of readings, failures, silences and waiting."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from common.config.load import parse_triggers
from common.config.model import TriggerConfig
from tests.triggers.world import World

(PLAIN,) = parse_triggers(
    """
[hot]
each = g
expr = { client.load > 8 }
cmd = { sender.send_execute("cool") }
on_update_check = yes
"""
)

CONFIGS = st.builds(
    lambda **keys: replace(PLAIN, **keys),
    for_s=st.sampled_from([0.0, 20.0]),
    fire=st.sampled_from(["each", "once"]),
    cooldown_s=st.sampled_from([0.0, 45.0]),
    unknown=st.sampled_from(["hold", "false", "true"]),
    max_actions=st.sampled_from([0, 2]),
    max_actions_window_s=st.just(100.0),
    max_share=st.sampled_from([1.0, 0.5]),
    dry_run=st.booleans(),
    flap_limit=st.sampled_from([0, 4]),
    flap_window_s=st.just(60.0),
    ticks=st.sampled_from([-1.0, 7.0]),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("tell"), st.sampled_from(["x1", "x2", "x3"]), st.sampled_from([1, 9, 9, 12, None])),
        st.tuples(st.just("wait"), st.just(""), st.sampled_from([1, 5, 19, 21, 44, 46, 120])),
        st.tuples(st.just("silence"), st.sampled_from(["hot", "client:x1", "group:g", "all"]), st.sampled_from([10, 50])),
        st.tuples(st.just("leave"), st.sampled_from(["x1", "x2"]), st.just(0)),
    ),
    max_size=30,
)


@dataclass
class Story:
    """What the world was told, to judge the firings by."""

    world: World
    config: TriggerConfig
    values: dict[str, list[tuple[float, Any]]] = field(default_factory=dict)
    silences: list[tuple[float, float, str]] = field(default_factory=list)
    fired: list[tuple[float, str]] = field(default_factory=list)

    def step(self, what: str, who: str, how: int | None) -> None:
        self.world.advance(0.5003)  # no two things at the same instant, so that it is plain what came first
        if what == "tell":
            self.values.setdefault(who, []).append((self.world.mono, how))
            self.world.tell(who, "load", how)
        elif what == "wait":
            self.world.advance(float(how or 0))
        elif what == "leave":
            self.values.setdefault(who, []).append((self.world.mono, 0))
            for node in self.world.living():
                node.farm.forget(who)
            self.world.look()
        else:
            self.silence(who, float(how or 1))
        self.note()

    def silence(self, what: str, seconds: float) -> None:
        node = self.world.nodes["m1"]
        until = self.world.now.wall + seconds
        answer = node.engine.answer("silence", {"what": what, "until": until}, "eve", node.farm, self.world.now)
        self.world.carry_out(node, list(answer.effects))
        if answer.body["ok"]:
            self.silences.append((self.world.mono, self.world.mono + seconds, what))

    def note(self) -> None:
        self.fired = [(at, run.subject) for at, (_, run) in zip(self.world.ran_at, self.world.ran, strict=True)]

    def true_since(self, subject: str, at: float) -> float | None:
        """Since when the condition has been true without a break, told up to then; None: it is not."""
        since: float | None = None
        for told, value in self.values.get(subject, []):
            if told > at:
                break
            true = value > 8 if value is not None else self.config.unknown == "true"
            since = (told if since is None else since) if true else None
        return since


@settings(max_examples=150, deadline=None)
@given(CONFIGS, STEPS)
def test_a_firing_breaks_no_rule_of_its_trigger(config: TriggerConfig, steps: list[tuple[str, str, int | None]]) -> None:
    story = Story(World((config,), names=("m1",)), config)
    story.world.lead("m1")
    for step in steps:
        story.step(*step)
    fired = story.fired
    for number, (at, subject) in enumerate(fired):
        since = story.true_since(subject, at)
        assert since is not None, "it fires only on what is known to be true"
        assert at >= since + config.for_s - 0.01
        own = [when for when, who in fired[:number] if who == subject]
        assert not own or at >= own[-1] + config.cooldown_s - 0.01
        recent = [when for when, _ in fired[: number + 1] if when > at - config.max_actions_window_s + 0.01]
        assert not config.max_actions or len(recent) <= config.max_actions
        covering = [1 for begin, end, what in story.silences if begin <= at < end - 0.01 and what in ("hot", "all", "group:g")]
        assert not covering
        named = [1 for begin, end, what in story.silences if begin <= at < end - 0.01 and what == f"client:{subject}"]
        assert not named
    assert not (config.dry_run and story.world.acted)
    if config.fire == "once":
        for subject in ("x1", "x2", "x3"):
            times = [at for at, who in fired if who == subject]
            for earlier, later in pairwise(times):
                between = [value for told, value in story.values[subject] if earlier <= told <= later]
                assert any(value is None or value <= 8 for value in between), "once, until it has recovered"
    if config.max_share < 1.0:
        window = [(at, who) for at, who in fired]
        for at, _ in window:
            touched = {who for when, who in window if at - config.max_actions_window_s + 0.01 < when <= at}
            assert len(touched) <= 1, "half of three clients is one"


@settings(max_examples=60, deadline=None)
@given(CONFIGS, STEPS)
def test_what_is_due_fires_when_nothing_is_in_the_way_any_more(
    config: TriggerConfig, steps: list[tuple[str, str, int | None]]
) -> None:
    story = Story(World((config,), names=("m1",)), config)
    story.world.lead("m1")
    for step in steps:
        story.step(*step)
    for client in ("x1", "x2", "x3"):
        story.step("tell", client, 1)
    story.step("wait", "", 400)
    before = len(story.world.ran)
    story.step("tell", "x3", 9)
    story.step("wait", "", 400)
    story.step("tell", "x3", 9)
    story.step("wait", "", 30)
    assert len(story.world.ran) > before
    assert {run.subject for _, run in story.world.ran[before:]} == {"x3"}
