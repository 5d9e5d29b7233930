"""Every target of every request ends in one state, and the sum says the same as the pieces: a machine of random calls."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from common.protocol import ClbControl, Control, ExecErr, Execute, ExecVal, GetProp, PropErr, PropList, PropVal, Reading
from vmmanager.requests import LINGER_S, Ended, Kind, Progress, Request, Requests, Settled

NAMES = ("a", "b", "c")
DONE = {"answered", "late", "silent", "unreachable", "error"}


def question(kind: Kind) -> GetProp | Execute | Control:
    if kind == "get":
        return GetProp(names=("x", "y"))
    return Execute(execution="e", command="log") if kind == "exec" else Control(verb="ping")


class RequestsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.requests = Requests()
        self.now = 0.0
        self.next_id = 0
        self.by_id: dict[int, Request] = {}
        self.kinds: dict[int, Kind] = {}
        self.settled: dict[tuple[int, str], list[str]] = {}
        self.ended: dict[int, int] = {}
        self.opened: set[int] = set()

    def take(self, progress: list[Progress]) -> None:
        for item in progress:
            self.by_id[item.request.key] = item.request
            if isinstance(item, Settled):
                self.settled.setdefault((item.request.key, item.target.name), []).append(item.target.state)
            else:
                self.ended[item.request.key] = self.ended.get(item.request.key, 0) + 1

    @rule(kind=st.sampled_from(["get", "exec", "control"]), present=st.sets(st.sampled_from(NAMES)), timeout=st.floats(0.1, 9))
    def open(self, kind: Kind, present: set[str], timeout: float) -> None:
        self.next_id += 1
        absent = set(NAMES) - present
        self.kinds[self.next_id] = kind
        self.opened.add(self.next_id)
        self.take(self.requests.open(self.next_id, kind, question(kind), sorted(present), absent, self.now, timeout))

    @precondition(lambda self: self.next_id)
    @rule(data=st.data(), name=st.sampled_from([*NAMES, "stranger"]), part=st.sampled_from(["all", "x", "y", "error", "wrong"]))
    def answer(self, data: st.DataObject, name: str, part: str) -> None:
        id = data.draw(st.integers(1, self.next_id + 1))
        kind = self.kinds.get(id, "get")
        self.take(self.requests.answer(id, name, self.message(kind, part), self.now))

    def message(self, kind: Kind, part: str) -> PropVal | PropList | PropErr | ExecVal | ExecErr | ClbControl:
        if kind == "get":
            if part in ("x", "y"):
                return PropVal(reading=Reading(name=part, value=1))
            if part == "error":
                return PropErr(errors={"x": "no", "y": "no"})
            if part == "wrong":
                return ClbControl(verb="ping")
            return PropList(readings=(Reading(name="x", value=1), Reading(name="y", value=2)))
        if kind == "exec":
            return ExecErr(execution="e", kind="error", reason="no") if part == "error" else ExecVal(execution="e")
        return ClbControl(verb="ping", ok=part != "error", reason="no")

    @rule(seconds=st.floats(0.01, 30))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.take(self.requests.due(self.now))

    @rule(name=st.sampled_from(NAMES))
    def lose(self, name: str) -> None:
        self.take(self.requests.lost(name, self.now))

    @rule(name=st.sampled_from(NAMES))
    def come_back(self, name: str) -> None:
        for request in self.requests.returned(name):
            assert request.kind == "exec"
            self.next_id += 1
            self.kinds[self.next_id] = "exec"
            self.requests.also(request, self.next_id, [name])

    @precondition(lambda self: self.next_id)
    @rule(data=st.data())
    def unsent(self, data: st.DataObject) -> None:
        self.take(self.requests.unsent(data.draw(st.integers(1, self.next_id)), "the bus is down", self.now))

    @invariant()
    def each_target_is_settled_once_and_perhaps_late_after(self) -> None:
        for states in self.settled.values():
            assert len(states) <= 2
            assert all(state in DONE for state in states)
            if len(states) == 2:
                assert states[0] in ("silent", "unreachable")
                assert states[1] == "late"

    @invariant()
    def the_end_is_told_once_and_leaves_nobody_out(self) -> None:
        for key, times in self.ended.items():
            assert times == 1
            summary = self.by_id[key].summary(self.now)
            told = [name for state in ("answered", "late", "silent", "unreachable") for name in summary[state]]
            assert sorted(told) == sorted(NAMES)
            assert set(summary["errors"]) <= set(NAMES)

    @invariant()
    def nothing_waits_beyond_its_deadline(self) -> None:
        assert self.requests.next_wake() >= 0

    def teardown(self) -> None:
        self.now += 10
        self.take(self.requests.due(self.now))
        assert len(self.requests) == 0
        assert set(self.ended) == self.opened
        self.now += LINGER_S + 10
        self.requests.due(self.now)
        for id in range(1, self.next_id + 1):
            assert self.requests.answer(id, "a", ClbControl(verb="ping"), self.now) == []


TestRequests = RequestsMachine.TestCase
TestRequests.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_command_has_failed_when_its_last_copy_has() -> None:
    """A copy sent later, to a client that was away, may be run where the first one was refused."""
    refused, done = ExecErr(execution="e", kind="refused", reason="no"), ExecVal(execution="e")
    for late, wanted in ((refused, "error"), (done, "answered")):
        requests = Requests()
        requests.open(1, "exec", question("exec"), ["a"], [], 0.0, 9.0)
        (request,) = requests.returned("a")
        requests.also(request, 2, ["a"])
        assert requests.answer(1, "a", refused, 1.0) == []
        assert requests.answer(2, "a", late, 1.0)
        assert request.targets["a"].state == wanted


def test_a_command_lost_on_the_way_is_not_said_to_have_failed() -> None:
    requests = Requests()
    requests.open(1, "exec", question("exec"), ["a"], [], 0.0, 5.0)
    assert requests.lost("a", 1.0) == []  # it may come back
    progress = requests.due(5.1)
    settled = next(item for item in progress if isinstance(item, Settled))
    assert settled.target.state == "unreachable"
    assert "not known" in settled.target.body["reason"]
    assert any(isinstance(item, Ended) for item in progress)
