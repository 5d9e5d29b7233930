"""What a leader counts with of a host that it knows too little of."""

from __future__ import annotations

from typing import Any

from common.config.model import FailoverConfig, ManagerConfig
from common.leases import Terms, lease_over_s
from common.leasewords import Ask
from common.protocol import Control, Value
from common.words import FORGOT, Plea, Voter, Word
from vmmanager.context import Context
from vmmanager.events import Moment, Send
from vmmanager.failover.reign import Reign
from vmmanager.failover.watch import FARM_ROW, TABLE, TOKEN, Watch

TERMS = Terms()
NAMES = ("m1", "m2", "m3")
Heard = tuple[int, int]


class Leader:
    """m1 of three, as it gets authority; `before`: the reign before, and how much it told, by the words of the others;
    `heard`: what m1 has heard; `hosts`: rows."""

    def __init__(
        self,
        before: tuple[int, int] = (0, 0),
        heard: tuple[int, int] = (0, 0),
        hosts: dict[str, dict[str, Value]] | None = None,
    ) -> None:
        self.context = Context(ManagerConfig("m1", managers=NAMES, failover=FailoverConfig(grace_s=0.0)), Moment(1e9, 100.0))
        self.context.address, self.context.epoch = "#m1", 1
        self.reign = Reign(self.context)
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.watch = Watch(self.context, self.reign, lambda verb, arguments: self.told.append((verb, arguments)))
        self.watch.restore(*FARM_ROW, {"epoch": heard[0], "told": heard[1]})
        for name, row in (hosts or {}).items():
            self.watch.restore(TABLE, name, dict(row))
        self.before = before
        self.pass_s(60.0)
        self.words()
        self.watch.took_over()

    def pass_s(self, seconds: float) -> None:
        now = self.context.now
        self.context.now = Moment(now.wall + seconds, now.mono + seconds)

    def words(self) -> None:
        """It asks for words, and gets them."""
        self.reign.look(3)
        self.reign.authority.answered("m2", Word("m1", 3, self.reign.authority._n, *self.before))

    def asks(self, n: int, **more: Any) -> None:
        self.watch.asked("xen1", Ask(n, "boot", **more).values())

    def stored(self) -> None:
        """All its rows are on disk."""
        for _, arguments in self.told:
            if str(arguments.get("token")).startswith(TOKEN):
                self.watch.stored(str(arguments["token"]), "")
        self.told.clear()

    def granted_to(self, n: int, **more: Any) -> list[int]:
        """xen1 asks; which askings of its are granted then."""
        self.asks(n, **more)
        self.pass_s(TERMS.beat_s / 2)
        self.context.out.clear()
        self.watch.look()
        sent = [each.message for each in self.context.out if isinstance(each, Send)]
        grants: list[Any] = [each.arguments.get("grants") or {} for each in sent if isinstance(each, Control)]
        return [each["xen1"] for each in grants if "xen1" in each]


def test_a_host_that_nobody_knew_may_have_a_lease_of_the_leader_before() -> None:
    leader = Leader()
    leader.pass_s(1.0)
    leader.asks(1)
    assert leader.watch.hosts["xen1"].over_at == leader.watch.since + lease_over_s(leader.watch.terms)


def test_what_a_host_gains_the_others_know_before_its_lease_is_renewed() -> None:
    """Else the next leader would not wait for its storage, or for its watchdog."""
    leader = Leader()
    gained: tuple[dict[str, Any], ...] = ({}, {"storage": True}, {"storage": True, "watchdog_s": 8.0})
    for n, more in zip((1, 11, 21), gained, strict=True):
        leader.words()
        assert leader.granted_to(n, **more) == []  # it is not on disk
        leader.stored()
        assert leader.granted_to(n + 1, **more) == []  # nor has a majority answered since
        leader.words()
        assert leader.granted_to(n + 2, **more) == [n + 2]
        assert leader.granted_to(n + 3, **more) == [n + 3]


def test_what_the_reign_before_has_told_beyond_what_is_known_here_makes_all_doubtful() -> None:
    dead: dict[str, Value] = {"state": "dead", "proof": "time", "leased": True}
    for heard, is_known in (((2, 7), True), ((2, 6), False), ((1, 99), False), ((2, 8), True)):
        watch = Leader((2, 7), heard, {"xen1": dead}).watch
        host = watch.hosts["xen1"]
        assert (host.state == "dead", host.doubted, watch.sequence.doubt) == (is_known, not is_known, not is_known)


def test_who_has_missed_a_decision_has_not_heard_those_after_it() -> None:
    leader = Leader()
    follower = Leader()
    follower.watch.sequence.at = (0, 0)
    decisions = []
    for _ in range(3):
        leader.watch.farm_changed()
        decisions.append(leader.told[-1])
    first_of_reign, *_ = [each for each in leader.told if each[0] == "lease-farm"]
    for verb, arguments in (first_of_reign, decisions[0], decisions[2]):
        follower.watch.decided(verb, arguments, own=False)
    assert follower.watch.sequence.at == (3, 2)
    follower.watch.told(leader.watch.rows())
    assert follower.watch.sequence.at == leader.watch.sequence.at == (3, 4)


def test_a_voter_says_how_much_the_reign_before_had_told() -> None:
    voter = Voter(0.0, 0.0)

    def word(leader: str, epoch: int, told: int, now: float) -> tuple[int, int]:
        given = voter.asked(leader, Plea(epoch, 1, TERMS.authority_s, TERMS.drift, told=told), now)
        assert isinstance(given, Word)
        return given.before, given.told

    assert word("m1", 1, 5, 100.0) == (0, 0)
    assert word("m2", 2, 0, 200.0) == (1, 5)
    assert word("m3", 3, 4, 300.0) == (1, 5)  # the second has decided nothing
    assert word("m1", 4, 0, 400.0) == (3, 4)
    voter = Voter(0.0, 0.0, 3, "m3")  # restarted
    assert word("m1", 4, 0, 100.0) == (3, FORGOT)
