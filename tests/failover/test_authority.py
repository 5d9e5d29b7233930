"""Who may act: no two leaders at a time, whatever is lost, late, restarted, as long as clocks drift no more than is said."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.leases import Terms, mute_s
from common.words import FORGOT, Plea, Voter, Word
from vmmanager.failover.authority import Authority

TERMS = Terms()
NAMES = ("m1", "m2", "m3")


def _led(voters: tuple[str, ...] = NAMES, epoch: int = 1, now: float = 100.0) -> Authority:
    """A leader whose own voter is awake."""
    made = Authority("m1", voters, TERMS, now - 60.0)
    made.begin(epoch, now)
    return made


def test_a_manager_alone_is_its_own_majority() -> None:
    made = _led(("m1",))
    assert made.held(1e9)
    assert made.ask(100.0) is None
    assert made.next_wake() == float("inf")  # nothing is to be done, ever


def test_authority_counts_from_the_asking_and_needs_a_majority() -> None:
    made = _led()
    plea = made.ask(100.0)
    assert plea is not None
    assert made.why_not(100.1).startswith("it has no authority: 1 of 3 have given their word, 2 are needed (m2: no answer;")
    made.answered("m2", Word("m1", plea.epoch, plea.n))
    assert made.until() == 100.0 + TERMS.authority_s
    assert made.held(103.9)
    assert not made.held(104.0)


def test_a_word_that_nobody_asked_for_counts_nothing() -> None:
    made = _led()
    made.ask(100.0)
    for voter, word in (("m2", Word("m1", 1, 7)), ("m2", Word("m1", 2, 1)), ("stranger", Word("m1", 1, 1))):
        made.answered(voter, word)
        assert not made.held(100.1)


def test_a_word_is_for_one_reign() -> None:
    """A leader that rises above an epoch which another has must ask all anew."""
    made = _led()
    plea = made.ask(100.0)
    assert plea is not None
    made.answered("m2", Word("m1", plea.epoch, plea.n))
    assert made.held(100.5)
    made.begin(3, 100.5)
    assert not made.held(100.5)
    plea = made.ask(100.5)
    assert plea is not None
    assert not made.held(100.5)
    made.answered("m2", Word("m1", plea.epoch, plea.n))
    assert made.held(100.5)


def test_a_witness_breaks_the_tie_of_two() -> None:
    made = _led(("m1", "m2", "w1"))
    made.ask(100.0)
    made.answered("m2", "it gave its word to m2 (epoch 1), for 2.0 s")
    made.answered("w1", Word("m1", 1, 1))
    assert made.held(101.0)


def test_a_voter_that_has_just_started_is_silent_as_long_as_a_word_of_its_may_hold() -> None:
    voter = Voter(100.0, mute_s(TERMS))
    plea = Plea(1, 1, TERMS.authority_s, TERMS.drift)
    assert isinstance(voter.asked("m1", plea, 100.0 + mute_s(TERMS) - 0.01), str)
    assert voter.asked("m1", plea, 100.0 + mute_s(TERMS)) == Word("m1", 1, 1, 0)


def test_a_leader_that_gives_up_frees_its_voters_at_once() -> None:
    voter = Voter(0.0, 0.0)
    voter.asked("m1", Plea(1, 1, TERMS.authority_s, TERMS.drift, told=3), 100.0)
    other = Plea(2, 1, TERMS.authority_s, TERMS.drift)
    assert isinstance(voter.asked("m2", other, 101.0), str)
    voter.freed("m1", 1)
    assert voter.asked("m2", other, 101.0) == Word("m2", 2, 1, 1, 3)


def test_a_reign_that_is_over_gets_no_word() -> None:
    """Whoever leads by an older epoch has not heard yet that another has begun; it is told above what it must rise."""
    voter = Voter(0.0, 0.0, 2, "m2")
    voter.heard_epoch(5)
    assert isinstance(voter.asked("m1", Plea(4, 1, TERMS.authority_s, TERMS.drift), 100.0), str)
    assert voter.rise_above == 5
    assert voter.asked("m1", Plea(6, 2, TERMS.authority_s, TERMS.drift), 100.0) == Word("m1", 6, 2, 2, FORGOT)


@pytest.mark.parametrize(("remembered", "others_word"), [("m1", False), ("m2", True), ("", False)])
def test_a_voter_that_was_restarted_gives_an_epoch_to_nobody_but_whose_it_is(remembered: str, others_word: bool) -> None:
    """Else two leaders would act under one epoch, and the orders of the one pass for those of the other."""
    voter = Voter(0.0, 0.0, 2, remembered)
    assert isinstance(voter.asked("m2", Plea(2, 1, TERMS.authority_s, TERMS.drift), 100.0), Word) is others_word
    assert voter.rise_above == (0 if others_word else 2)
    assert voter.asked("m2", Plea(3, 2, TERMS.authority_s, TERMS.drift), 100.0) == Word("m2", 3, 2, 2, FORGOT)


# --- any schedule -----------------------------------------------------------------------------------------------------------


@dataclass
class _Manager:
    """With a clock of its own: `rate` within the drift that the numbers allow."""

    name: str
    rate: float
    core: Authority = field(init=False)
    epoch: int = 0

    def clock(self, real: float) -> float:
        return 1000.0 + real * self.rate

    def start(self, real: float) -> None:
        """safety: epochs are on disk; all else is forgotten."""
        self.core = Authority(self.name, NAMES, TERMS, self.clock(real), self.epoch)

    def lead(self, real: float, epoch: int) -> None:
        self.epoch = epoch
        self.core.begin(epoch, self.clock(real))


_step = st.tuples(
    st.sampled_from(("pass", "lead", "restart", "hear", "hear", "hear", "deaf")),
    st.integers(0, 2),
    st.floats(0.05, 1.5),
)


@settings(max_examples=300, deadline=None)
@given(
    rates=st.lists(st.sampled_from((1 - TERMS.drift, 1.0, 1 + TERMS.drift)), min_size=3, max_size=3),
    steps=st.lists(_step, min_size=20, max_size=80),
)
def test_two_managers_never_have_authority_at_the_same_time(rates: list[float], steps: list[tuple[str, int, float]]) -> None:
    managers = [_Manager(name, rate) for name, rate in zip(NAMES, rates, strict=True)]
    for one in managers:
        one.start(0.0)
    real, epoch = 10.0, 0  # all are awake
    letters: list[_Letter] = []
    for what, who, span_s in steps:
        one = managers[who]
        if what == "pass":
            real += span_s
        elif what == "lead":
            epoch += 1
            one.lead(real, epoch)
        elif what == "restart":
            one.start(real)
        else:  # all that is on its way to it comes, or is lost
            letters, taken = [each for each in letters if each.to != who], [each for each in letters if each.to == who]
            if what == "hear":
                letters += [answer for each in taken if (answer := _read(managers, each, real)) is not None]
        for number, each in enumerate(managers):
            plea = each.core.ask(each.clock(real))
            letters += [_Letter(number, other, plea) for other in range(3) if plea is not None and other != number]
        held = [each.name for each in managers if each.core.held(each.clock(real))]
        assert len(held) < 2, f"{held} at {real}"


@dataclass(frozen=True)
class _Letter:
    sender: int
    to: int
    what: Plea | Word


def _read(managers: list[_Manager], letter: _Letter, real: float) -> _Letter | None:
    """What the receiver answers."""
    to = managers[letter.to]
    if isinstance(letter.what, Word):
        to.core.answered(managers[letter.sender].name, letter.what)
        return None
    word = to.core.voter.asked(managers[letter.sender].name, letter.what, to.clock(real))
    return _Letter(letter.to, letter.sender, word) if isinstance(word, Word) else None
