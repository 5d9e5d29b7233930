"""EXECUTE: nothing runs that is not allowed, nothing runs twice, every request has one answer. The core alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from common.protocol import ClbControl, Control, ExecErr, Execute, ExecVal
from tests.client.driven import COMMANDS, Driven
from vmclient.events import (
    Asked,
    Journal,
    Journaled,
    Loaded,
    Progress,
    Recall,
    Recalled,
    Reconfigured,
    Run,
    RunDone,
    Send,
    Stop,
)
from vmclient.executions import QUEUE_MAX, not_allowed


def execute(execution: str = "x1", command: str = "log", /, **parameters: str) -> Execute:
    return Execute(execution=execution, command=command, parameters={**parameters})


def begin(one: Driven, name: str = "x1") -> None:
    one.step(Journaled(name))


def end(one: Driven, name: str = "x1", result: str = "fine") -> None:
    one.step(RunDone(name, "ok", "", result, "", 0.5))


def test_a_command_is_journaled_before_it_begins_and_before_its_answer_goes_out() -> None:
    one = Driven()
    request = one.ask(execute())
    assert [(note.execution, note.answer, note.in_reply_to) for note in one.found(Journal)] == [("x1", None, request)]
    assert not one.found(Run)
    begin(one)
    assert [run.command for run in one.found(Run)] == ["log"]
    end(one)
    assert isinstance(one.found(Journal)[0].answer, ExecVal)
    assert not one.said()
    begin(one)
    assert one.said(request) == [ExecVal(execution="x1", result="fine", elapsed_s=0.5)]


def test_what_the_closed_list_does_not_hold_is_refused_and_nothing_runs() -> None:
    one = Driven(allow=("exec:check_disk",))
    for message in (execute(), execute("x2", "exec", program="rm"), execute("x3", "service", name="a")):
        (answer,) = one.said(one.ask(message))
        assert isinstance(answer, ExecErr)
        assert answer.kind == "refused"
        assert "does not allow" in answer.reason
        assert not one.found(Journal)
    one.ask(execute("x4", "exec", program="check_disk"))
    assert one.found(Journal)


def test_what_was_refused_is_refused_for_good() -> None:
    """Who asked was told, and has gone on: another copy of it, that comes later, must not run."""
    one = Driven(allow=())
    one.said(one.ask(execute()))
    one.step(Reconfigured(replace(one.host.config, allow=("log",))))
    (answer,) = one.said(one.ask(execute()))
    assert isinstance(answer, ExecErr)
    assert (answer.kind, answer.repeated) == ("refused", True)
    assert not one.found(Journal)
    one.ask(execute("x2"))
    assert one.found(Journal)


@pytest.mark.parametrize(
    ("allow", "message", "allowed"),
    [
        ((), execute(), False),
        (("log",), execute(), True),
        (("exec",), execute("x", "exec", program="p"), True),
        (("exec:p",), execute("x", "exec", program="p"), True),
        (("exec:p",), execute("x", "exec", program="q"), False),
        (("exec:p",), execute("x", "exec"), False),
        (("exec:p",), execute("x", "exec:p"), True),
        (("control:shutdown",), execute("x", "shutdown"), False),
        (("vm",), execute("x", "vm-start"), True),
        (("vm-stop",), execute("x", "vm-start"), False),
        (("vm-stop",), execute("x", "vm-stop"), True),
        (("vm",), execute("x", "vmotion"), False),
        (("vm",), execute("x", "exec"), False),
    ],
)
def test_closed_list(allow: tuple[str, ...], message: Execute, allowed: bool) -> None:
    assert (not_allowed(message, allow) == "") is allowed


def test_a_command_that_no_plugin_has_is_refused() -> None:
    one = Driven(allow=("fly",))
    (answer,) = one.said(one.ask(execute("x1", "fly")))
    assert isinstance(answer, ExecErr)
    assert answer.kind == "refused"


def test_a_repeat_while_it_runs_waits_for_the_same_run() -> None:
    one = Driven()
    first = one.ask(execute())
    begin(one)
    second = one.ask(execute(), sender="m2")
    assert not one.effects
    end(one)
    begin(one)
    assert one.said(first) == one.said(second) != []


def test_a_repeat_after_its_end_is_answered_from_the_record() -> None:
    one = Driven()
    one.ask(execute())
    begin(one)
    end(one)
    begin(one)
    request = one.ask(execute())
    assert one.found(Recall) == [Recall("x1", request)]
    assert not one.found(Run)
    assert not one.found(Journal)
    one.step(Recalled("x1", ExecVal(execution="x1", result="fine"), request))
    assert one.said(request) == [ExecVal(execution="x1", result="fine", repeated=True)]


def test_a_repeat_after_a_restart_is_answered_from_the_record_too() -> None:
    one = Driven(ended={"x1": 999_000.0})
    request = one.ask(execute())
    assert one.found(Recall) == [Recall("x1", request)]


def test_what_a_crash_interrupted_is_answered_once_and_never_run_again() -> None:
    one = Driven(begun={"x1": 77}, connected=False)
    one.open()
    assert isinstance(one.found(Journal)[0].answer, ExecErr)
    early = one.ask(execute())
    begin(one)
    for request in (77, early):
        (answer,) = one.said(request)
        assert isinstance(answer, ExecErr)
        assert answer.kind == "interrupted"
    one.close()
    one.open()
    assert not one.found(Journal)
    later = one.ask(execute())
    assert one.found(Recall) == [Recall("x1", later)]


def test_nothing_runs_that_the_journal_cannot_note() -> None:
    one = Driven()
    request = one.ask(execute())
    one.step(Journaled("x1", "No space left on device"))
    (answer,) = one.said(request)
    assert isinstance(answer, ExecErr)
    assert "No space left on device" in answer.reason
    assert not one.found(Run)


def test_an_answer_the_journal_cannot_take_is_still_given_and_remembered() -> None:
    one = Driven()
    request = one.ask(execute())
    begin(one)
    end(one)
    one.step(Journaled("x1", "No space left on device"))
    assert isinstance(one.said(request)[0], ExecVal)
    again = one.ask(execute())
    assert one.said(again) == [ExecVal(execution="x1", result="fine", elapsed_s=0.5, repeated=True)]


def test_one_at_a_time_for_one_subject_and_others_go_past() -> None:
    one = Driven(parallel=3)
    one.ask(execute("a1", "service", name="mail", action="stop"))
    one.ask(execute("a2", "service", name="mail", action="start"))
    assert not one.found(Journal)
    one.ask(execute("b1", "service", name="web", action="stop"))
    assert [note.execution for note in one.found(Journal)] == ["b1"]
    begin(one, "a1")
    end(one, "a1")
    begin(one, "a1")
    assert [note.execution for note in one.found(Journal)] == ["a2"]


def test_more_than_the_queue_holds_is_busy() -> None:
    one = Driven(parallel=1)
    for number in range(1 + QUEUE_MAX):
        assert not one.said(one.ask(execute(f"x{number}")))
    (answer,) = one.said(one.ask(execute("more")))
    assert isinstance(answer, ExecErr)
    assert answer.kind == "busy"


def test_what_waits_longer_than_its_validity_does_not_run() -> None:
    one = Driven(parallel=1)
    one.ask(execute("first"))
    request = one.ask(execute("second"), ttl_s=10)
    while not one.said(request):
        one.until_wake()
    (answer,) = one.said(request)
    assert isinstance(answer, ExecErr)
    assert answer.kind == "timeout"
    begin(one, "first")
    end(one, "first")
    begin(one, "first")
    assert not one.found(Journal)


def test_commands_wait_until_the_plugins_are_loaded() -> None:
    one = Driven(loaded=False)
    one.ask(execute())
    assert not one.found(Journal)
    one.step(Loaded((), COMMANDS))
    assert [note.execution for note in one.found(Journal)] == ["x1"]


def test_what_a_reload_forbids_does_not_begin_any_more() -> None:
    one = Driven(parallel=1)
    one.ask(execute("running"))
    begin(one, "running")
    request = one.ask(execute("waiting"))
    one.step(Reconfigured(replace(one.config, allow=("service",))))
    one.step(RunDone("running", "ok", "", None, "", 0.1))
    one.step(Journaled("running"))
    refused = [send.message for send in one.found(Send) if send.in_reply_to == request]
    assert [message.kind for message in refused if isinstance(message, ExecErr)] == ["refused"]
    assert not one.found(Journal)


def texts(one: Driven, request: int) -> list[object]:
    said = [message for message in one.said(request) if isinstance(message, ClbControl)]
    return [message.values["text"] for message in said if message.verb == "progress"]


def test_progress_is_told_at_most_twice_a_second_and_the_newest_is_not_lost() -> None:
    one = Driven()
    request = one.ask(execute())
    begin(one)
    one.step(Progress("x1", "copying", 0.1))
    assert one.said(request) == [ClbControl(verb="progress", values={"execution": "x1", "text": "copying", "share": 0.1})]
    for share in (0.2, 0.3):
        one.step(Progress("x1", f"at {share}", share))
        assert one.said() == []
    assert one.wake == one.mono + 0.5
    one.until_wake()
    assert texts(one, request) == ["at 0.3"]
    one.after(10.0)
    assert texts(one, request) == []


def test_progress_goes_to_all_who_wait_also_to_one_who_comes_late() -> None:
    one = Driven()
    first = one.ask(execute())
    begin(one)
    one.step(Progress("x1", "copying"))
    second = one.ask(execute())
    assert texts(one, second) == ["copying"]
    one.after(1.0)
    one.step(Progress("x1", "starting"))
    assert texts(one, first) == texts(one, second) == ["starting"]


def test_no_progress_comes_after_the_end_or_while_the_bus_is_down() -> None:
    one = Driven()
    request = one.ask(execute())
    begin(one)
    one.step(Progress("x1", "copying"))
    one.step(Progress("x1", "waits"))
    end(one)
    one.after(1.0)
    assert texts(one, request) == []
    begin(one)
    one.step(Progress("x1", "too late"))
    assert one.said() == []
    one.ask(execute("x2"))
    begin(one, "x2")
    one.close()
    one.step(Progress("x2", "nobody hears"))
    assert one.effects == []


def test_a_clock_that_jumps_makes_no_execution_be_forgotten() -> None:
    one = Driven()
    one.ask(execute())
    begin(one)
    end(one)
    one.step(Journaled("x1"))
    one.wall += 30 * 86_400.0
    one.after(4000.0)
    one.wall -= 30 * 86_400.0
    one.ask(execute())
    assert one.found(Recall)
    assert not one.found(Journal)


def test_a_stopping_client_lets_the_running_end_and_begins_nothing() -> None:
    one = Driven(parallel=1)
    running = one.ask(execute("running"))
    begin(one, "running")
    waiting = one.ask(execute("waiting"))
    one.step(Asked("stop"))
    assert not one.found(Stop)
    assert [answer.kind for answer in one.said(waiting) if isinstance(answer, ExecErr)] == ["busy"]
    assert [answer.kind for answer in one.said(one.ask(execute("new"))) if isinstance(answer, ExecErr)] == ["busy"]
    end(one, "running")
    begin(one, "running")
    assert one.said(running)
    assert one.found(Stop)


def test_a_stopping_client_does_not_wait_for_ever() -> None:
    one = Driven()
    one.ask(execute())
    begin(one)
    one.step(Asked("stop"))
    before = one.mono
    while not one.found(Stop):
        one.until_wake()
    assert one.mono - before < 10


def test_the_highest_epoch_seen_is_in_the_hello() -> None:
    one = Driven()
    (answer,) = one.said(one.ask(Control(verb="hello"), epoch=9))
    assert isinstance(answer, ClbControl)
    assert answer.values["epoch"] == 9


class Executing(RuleBasedStateMachine):
    """Requests, repeats, restarts and disk faults in any order."""

    @initialize(parallel=st.integers(1, 3))
    def start(self, parallel: int) -> None:
        self.parallel = parallel
        self.journal: dict[str, ExecVal | ExecErr | None] = {}  # what is on disk
        self.requests_on_disk: dict[str, int] = {}
        self.runs: Counter[str] = Counter()  # over all restarts
        self.answers: Counter[int] = Counter()
        self.pending_journal: list[Journal] = []
        self.pending_recall: list[Recall] = []
        self.running: dict[str, str] = {}  # execution -> subject
        self.owed: set[int] = set()
        self.ids = 1000
        self.boot()

    def boot(self) -> None:
        begun = {name: self.requests_on_disk[name] for name, answer in self.journal.items() if answer is None}
        ended = {name: 1.0 for name, answer in self.journal.items() if answer is not None}
        self.one = Driven(begun=begun, ended=ended, parallel=self.parallel, allow=("log", "service"))
        self.take()

    def take(self) -> None:
        for effect in self.one.effects:
            if isinstance(effect, Journal):
                self.pending_journal.append(effect)
            elif isinstance(effect, Recall):
                self.pending_recall.append(effect)
            elif isinstance(effect, Run):
                assert self.journal[effect.execution] is None, "it runs without a record"
                self.runs[effect.execution] += 1
                self.running[effect.execution] = str(effect.parameters.get("name", ""))
            elif isinstance(effect, Send) and isinstance(effect.message, (ExecVal, ExecErr)) and effect.in_reply_to:
                self.answers[effect.in_reply_to] += 1
                self.owed.discard(effect.in_reply_to)

    @rule(name=st.sampled_from("abcdef"), subject=st.sampled_from(["", "mail", "web"]))
    def ask(self, name: str, subject: str) -> None:
        message = execute(name, "service", name=subject) if subject else execute(name)
        self.ids += 1
        self.owed.add(self.ids)
        self.one.ask(message, id=self.ids, ttl_s=1000)
        self.take()

    @precondition(lambda self: self.pending_journal)
    @rule(fails=st.booleans())
    def write(self, fails: bool) -> None:
        item = self.pending_journal.pop(0)
        if not fails:
            self.journal[item.execution] = item.answer
            if item.answer is None:
                self.requests_on_disk[item.execution] = item.in_reply_to
        self.one.step(Journaled(item.execution, "disk full" if fails else ""))
        self.take()

    @precondition(lambda self: self.running)
    @rule(data=st.data(), kind=st.sampled_from(["ok", "error", "timeout"]))
    def done(self, data: st.DataObject, kind: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[name]
        self.one.step(RunDone(name, kind, "why", 1, "", 0.1))  # type: ignore[arg-type]
        self.take()

    @precondition(lambda self: self.pending_recall)
    @rule()
    def recall(self) -> None:
        item = self.pending_recall.pop(0)
        self.one.step(Recalled(item.execution, self.journal.get(item.execution), item.in_reply_to))
        self.take()

    @rule(seconds=st.floats(0.1, 400))
    def time_passes(self, seconds: float) -> None:
        self.one.after(seconds)
        self.take()

    @rule()
    def crash(self) -> None:
        self.pending_journal.clear()
        self.pending_recall.clear()
        self.running.clear()
        self.owed.clear()
        self.answers.clear()  # a full disk cannot note that the interrupted one was told: it is told once in each life
        self.boot()

    @invariant()
    def never_more_than_parallel_and_one_per_subject(self) -> None:
        if not hasattr(self, "running"):
            return
        assert len(self.running) <= self.parallel
        subjects = [subject for subject in self.running.values() if subject]
        assert len(subjects) == len(set(subjects))

    @invariant()
    def nothing_runs_twice_and_nobody_is_answered_twice(self) -> None:
        if hasattr(self, "runs"):
            assert max(self.runs.values(), default=0) <= 1
            assert max(self.answers.values(), default=0) <= 1

    def teardown(self) -> None:
        """In the end everybody who asked has an answer."""
        if not hasattr(self, "one"):
            return
        for _ in range(1000):
            if self.pending_journal:
                self.write(fails=False)
            elif self.running:
                name = sorted(self.running)[0]
                del self.running[name]
                self.one.step(RunDone(name, "ok", "", 1, "", 0.1))
                self.take()
            elif self.pending_recall:
                self.recall()
            else:
                break
        assert not self.owed


Executing.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestExecuting = Executing.TestCase
