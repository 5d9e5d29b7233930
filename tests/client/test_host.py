"""What a manager gets from a client: readings, pushes, hellos and controls. The core alone, in pretend time."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from common.config.model import Fault, Where
from common.protocol import ClbControl, Control, Execute, FetchProp, GetProp, PropErr, PropList, PropVal
from tests.client.driven import Driven, prop
from vmclient.events import Asked, Journaled, Loaded, NotReconfigured, Read, Reconfigured, Reload, RunDone, Stop
from vmclient.properties import FIRST_WITHIN_S


def test_every_property_is_read_soon_after_start_and_then_once_each_period() -> None:
    one = Driven(prop("ram", ticks=60), prop("rare", ticks=86_400), prop("asked", ticks=-1))
    start = one.mono
    assert sorted(one.until_reads()) == ["ram", "rare"]
    assert one.mono - start <= FIRST_WITHIN_S
    one.read_done("ram", 1)
    assert one.until_reads() == ["ram"]
    second = one.mono
    one.read_done("ram", 2)
    assert one.until_reads() == ["ram"]
    assert one.mono - second == pytest.approx(60)


def test_clients_of_one_farm_read_at_different_moments_and_each_always_at_the_same() -> None:
    def second_read(name: str) -> float:
        one = Driven(prop("ram"))
        one.host = type(one.host)(replace(one.config, name=name), one.host.facts, one.now)
        one.open()
        one.until_reads()
        one.read_done("ram", 1)
        one.until_reads()
        return one.mono

    moments = [second_read(f"xen{number}") for number in range(20)]
    assert len({round(moment) for moment in moments}) > 10
    assert moments[0] == second_read("xen0")


def test_a_property_that_is_still_being_read_is_not_read_a_second_time() -> None:
    one = Driven(prop("slow", ticks=1))
    one.until_reads()
    for _ in range(5):
        assert [read.property.name for read in one.found(Read)] in (["slow"], [])
        one.after(1)
        assert not one.found(Read)


def test_getprop_gives_the_last_value_with_its_age() -> None:
    one = Driven(prop("ram"))
    one.until_reads()
    one.read_done("ram", "4096 ".strip(), unit="KiB")
    one.after(12)
    request = one.ask(GetProp(names=("ram",)))
    (answer,) = one.said(request)
    assert isinstance(answer, PropVal)
    assert (answer.reading.value, answer.reading.unit, answer.reading.type) == (4096, "KiB", "int")
    assert answer.reading.age_s == pytest.approx(12)


def test_a_value_that_was_never_read_is_unknown_not_zero() -> None:
    one = Driven(prop("ram"))
    request = one.ask(GetProp(names=("ram",)))
    assert one.said(request) == [PropErr(errors={"ram": "not read yet"})]
    request = one.ask(GetProp())
    (answer,) = one.said(request)
    assert isinstance(answer, PropList)
    assert answer.complete
    assert answer.readings[0].value is None
    assert answer.readings[0].error == "not read yet"


def test_an_unknown_name_is_told_apart_from_an_unknown_value() -> None:
    one = Driven(prop("ram"))
    for message in (GetProp(names=("nope",)), FetchProp(names=("nope",))):
        assert one.said(one.ask(message)) == [PropErr(errors={"nope": "no such property"})]
    (answer,) = one.said(one.ask(GetProp(names=("ram", "nope"))))
    assert isinstance(answer, PropList)
    assert [reading.error for reading in answer.readings] == ["not read yet", "no such property"]


@pytest.mark.parametrize("given", ["many", None, float("nan"), [1], {"a": 1}, 1.5])
def test_a_value_of_the_wrong_type_is_unknown_and_the_reason_says_so(given: object) -> None:
    one = Driven(prop("ram"))
    one.until_reads()
    one.read_done("ram", given)  # type: ignore[arg-type]
    (answer,) = one.said(one.ask(GetProp(names=("ram",))))
    assert isinstance(answer, PropErr)
    assert any("property ram: unknown" in note for note in one.notes()) or answer.errors["ram"]


def test_fetch_waits_for_the_reads_and_two_fetches_share_one() -> None:
    one = Driven(prop("a", ticks=-1), prop("b", ticks=-1))
    first = one.ask(FetchProp(names=("a", "b")))
    assert [read.property.name for read in one.found(Read)] == ["a", "b"]
    second = one.ask(FetchProp(names=("a",)))
    assert not one.found(Read)
    one.read_done("a", 1)
    assert [type(answer) for answer in one.said(second)] == [PropVal]
    assert not one.said(first)
    one.read_done("b", error="no value within 10 s")
    (answer,) = one.said(first)
    assert isinstance(answer, PropList)
    assert [(reading.value, reading.error) for reading in answer.readings] == [(1, ""), (None, "no value within 10 s")]


def test_fetch_answers_in_time_even_when_a_read_never_ends() -> None:
    one = Driven(prop("a", ticks=-1), prop("b", ticks=-1))
    request = one.ask(FetchProp())
    one.read_done("a", 1)
    for _ in range(20):
        if one.said(request):
            break
        one.until_wake()
    (answer,) = one.said(request)
    assert isinstance(answer, PropList)
    assert [reading.error for reading in answer.readings] == ["", "not read in time"]


def test_on_change_pushes_changes_only_always_pushes_each_and_no_none() -> None:
    one = Driven(prop("c", push="on_change"), prop("a", push="always"), prop("n"))
    assert set(one.until_reads()) == {"c", "a", "n"}
    for name in "can":
        one.read_done(name, 1)
    (pushed,) = one.said(0)
    assert isinstance(pushed, PropList)
    assert {reading.name for reading in pushed.readings} == {"c", "a"}
    one.until_reads()
    one.read_done("n", 1)
    one.read_done("c", 1)
    assert not one.said(0)
    one.read_done("a", 1)
    (value,) = one.said(0)
    assert isinstance(value, PropVal)
    assert value.reading.name == "a"
    one.until_reads()
    one.read_done("a", 1)
    one.read_done("n", 1)
    one.read_done("c", error="gone")
    assert PropErr(errors={"c": "gone"}) in one.said(0) or any(
        isinstance(m, PropList) and "gone" in {r.error for r in m.readings} for m in one.said(0)
    )


def test_on_change_a_value_that_stays_is_told_again_before_managers_take_it_for_stale() -> None:
    one = Driven(prop("c", push="on_change", ticks=60))
    told: list[float] = []
    for _ in range(12):
        one.until_reads()
        one.read_done("c", 1)
        told += [one.mono for message in one.said(0) if isinstance(message, PropVal)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(told)]
    assert len(gaps) >= 4
    assert max(gaps) < 180  # three ticks: stale_factor
    assert min(gaps) > 60  # not with each reading


def test_a_push_does_not_wait_long_for_a_slow_neighbour() -> None:
    one = Driven(prop("quick", push="always"), prop("slow", push="always"))
    one.until_reads()
    one.read_done("quick", 1)
    assert not one.said(0)
    before = one.mono
    one.until_wake()
    (value,) = one.said(0)
    assert isinstance(value, PropVal)
    assert one.mono - before < 1


def test_pushes_stay_below_the_limit_and_the_newest_value_goes_out() -> None:
    one = Driven(prop("big", push="always", ticks=-1, return_type=""), push_bytes=1000)
    sent = 0
    for number in range(20):
        one.ask(FetchProp(names=("big",)))
        one.read_done("big", f"{number:04d}" + "x" * 900)
        sent += sum(isinstance(message, PropVal) for message in one.said(0))
    assert sent <= 2
    last = []
    for _ in range(5):
        last += [message for message in one.said(0) if isinstance(message, PropVal)]
        one.until_wake()
    assert str(last[-1].reading.value).startswith("0019")


def test_a_client_introduces_itself_each_time_the_bus_opens_and_sends_what_managers_missed() -> None:
    one = Driven(prop("p", push="on_change"), prop("q"))
    one.until_reads()
    one.read_done("p", 1)
    one.read_done("q", 1)
    one.close()
    one.until_reads()
    one.read_done("p", 2)
    one.read_done("q", 2)
    assert not one.said()
    one.open()
    hello, missed = one.said()
    assert isinstance(hello, ClbControl)
    assert hello.verb == "hello"
    assert hello.values["groups"] == ["dom0"]
    assert hello.values["commands"] == ["log", "service"]
    assert (hello.values["epoch"], hello.values["protocol"], hello.values["key"]) == (3, 1, "ab" * 32)
    assert isinstance(missed, PropVal)
    assert missed.reading.value == 2


def test_an_answer_that_is_ready_while_the_bus_is_down_is_dropped_with_a_note() -> None:
    one = Driven(prop("p", ticks=-1))
    request = one.ask(FetchProp(names=("p",)))
    one.close()
    one.read_done("p", 1)
    assert not one.said()
    assert one.notes() == [f"answer dropped, the bus is down: PROPVAL to request {request}"]


def test_a_silent_client_says_alive_within_its_heartbeat() -> None:
    one = Driven()
    for _ in range(10):
        before = one.mono
        one.until_wake()
        while not one.said():
            one.until_wake()
        (alive,) = one.said()
        assert isinstance(alive, ClbControl)
        assert alive.verb == "alive"
        assert 0.8 * one.config.heartbeat_s <= one.mono - before <= one.config.heartbeat_s


def test_two_managers_that_greet_each_other_with_a_client_do_not_talk_forever() -> None:
    one = Driven()
    hello = ClbControl(verb="hello", values={"role": "manager"})
    assert len(one.said(one.ask(hello))) == 1
    assert not one.said(one.ask(hello))
    one.after(10)
    assert one.said(one.ask(hello))


def control(one: Driven, verb: str, **arguments: object) -> ClbControl:
    (answer,) = one.said(one.ask(Control(verb=verb, arguments=arguments)))  # type: ignore[arg-type]
    assert isinstance(answer, ClbControl)
    assert answer.verb == verb
    return answer


def test_ping_is_answered_at_once_or_within_the_jitter_asked_for() -> None:
    one = Driven()
    assert control(one, "ping").ok
    request = one.ask(Control(verb="ping", arguments={"jitter_s": 10}))
    assert not one.said(request)
    before = one.mono
    while not one.said(request):
        one.until_wake()
    assert one.mono - before <= 10
    assert not control(one, "ping", jitter_s=1e9).ok


def test_an_unknown_verb_is_answered_with_those_there_are() -> None:
    answer = control(Driven(), "dance")
    assert not answer.ok
    assert "no verb dance" in answer.reason
    assert "ping" in answer.reason


def test_set_ticks_changes_the_period_until_the_next_reload() -> None:
    one = Driven(prop("a", ticks=60), prop("b", ticks=60))
    one.until_reads()
    one.read_done("a", 1)
    one.read_done("b", 1)
    assert control(one, "set-ticks", names=["a"], ticks=5).ok
    before = one.mono
    assert one.until_reads() == ["a"]
    assert one.mono - before == pytest.approx(5)
    assert control(one, "set-ticks", names="a", ticks=-1).ok
    one.step(Reconfigured(one.config))
    assert one.host.properties.by_name["a"].ticks == 60
    for bad in ({"ticks": 0}, {"ticks": "5"}, {}, {"ticks": 5, "names": ["nope"]}, {"ticks": 5, "names": 3}):
        assert not control(one, "set-ticks", **bad).ok


def test_paused_properties_are_read_only_when_fetched() -> None:
    one = Driven(prop("a", ticks=10), prop("b", ticks=10))
    assert control(one, "pause", names=["a"]).values == {"paused": ["a"]}
    for _ in range(3):
        assert one.until_reads() == ["b"]
        one.read_done("b", 1)
    one.ask(FetchProp(names=("a",)))
    assert [read.property.name for read in one.found(Read)] == ["a"]
    one.read_done("a", 1)
    assert control(one, "resume").values == {"paused": []}
    assert set(one.until_reads()) == {"a", "b"}


def test_properties_and_history_show_what_the_client_has() -> None:
    one = Driven(prop("a", keep=2, ticks=10))
    for value in (1, 2, 3):
        one.until_reads()
        one.read_done("a", value)
    listed = control(one, "properties").values["a"]
    assert isinstance(listed, dict)
    assert (listed["command"], listed["ticks"], listed["age_s"]) == ("ram", 10, 0)
    history = control(one, "history").values["a"]
    assert isinstance(history, list)
    assert [entry[1] for entry in history] == [2, 3]
    assert history[0][0] == pytest.approx(10)


def test_a_reload_is_answered_when_the_files_were_read_and_keeps_values() -> None:
    one = Driven(prop("a"), prop("b"))
    one.until_reads()
    one.read_done("a", 1)
    one.read_done("b", 1)
    request = one.ask(Control(verb="reload"))
    assert one.found(Reload)
    second = one.ask(Control(verb="reload"))
    assert not one.found(Reload)
    one.step(Reconfigured(replace(one.config, properties=(prop("a", ticks=30), prop("c")))))
    assert [type(message) for message in one.said(request) + one.said(second)] == [ClbControl, ClbControl]
    (answer,) = one.said(one.ask(GetProp()))
    assert isinstance(answer, PropList)
    assert [(reading.name, reading.value, reading.ticks) for reading in answer.readings] == [("a", 1, 30), ("c", None, 60)]


def test_a_bad_configuration_leaves_the_running_one_and_says_why() -> None:
    one = Driven(prop("a"))
    request = one.ask(Control(verb="reload"))
    one.step(NotReconfigured((str(Fault(Where("p.ini", 3, "a", "ticks"), "no number")),)))
    (answer,) = one.said(request)
    assert isinstance(answer, ClbControl)
    assert not answer.ok
    assert "p.ini:3: [a] ticks: no number" in answer.reason
    assert list(one.host.properties.by_name) == ["a"]


def test_only_a_client_that_allows_it_can_be_shut_down() -> None:
    assert "does not allow control:shutdown" in control(Driven(), "shutdown").reason
    one = Driven(allow=("control:shutdown",))
    request = one.ask(Control(verb="shutdown"))
    assert one.said(request) == [ClbControl(verb="shutdown")]
    assert [stop.reason for stop in one.found(Stop)] == ["asked by m1"]


def test_a_stopping_client_reads_no_more() -> None:
    one = Driven(prop("a", ticks=1))
    one.until_reads()
    one.read_done("a", 1)
    one.step(Asked("stop"))
    assert one.found(Stop)
    one.after(100)
    assert not one.found(Read)
    assert not one.found(Stop)


def test_after_the_machine_slept_nothing_is_made_up_for() -> None:
    one = Driven(prop("a", ticks=1))
    one.until_reads()
    one.read_done("a", 1)
    one.after(3600)
    assert len(one.found(Read)) == 1
    one.read_done("a", 1)
    assert not one.found(Read)
    assert one.wake <= one.mono + 1


def test_the_domains_are_read_anew_after_a_command_on_a_vm_however_it_ended() -> None:
    one = Driven(prop("domains", ticks=3600.0, push="always"), allow=("vm", "log"))
    one.step(Loaded(("ram",), {"vm-stop": "vm", "log": ""}))
    while one.until_reads() != ["domains"]:
        pass
    one.read_done("domains", 1)
    for execution, command, reads in (("a", "vm-stop", True), ("b", "log", False)):
        one.ask(Execute(execution=execution, command=command, parameters={"vm": "mail1"}))
        one.step(Journaled(execution))
        one.step(RunDone(execution, "error", "no", None, "", 1.0))
        assert [read.property.name for read in one.found(Read)] == (["domains"] if reads else [])
    one.read_done("domains", 2)
    assert [message.reading.value for message in one.said() if isinstance(message, PropVal)] == [2]


def test_a_list_that_was_being_read_while_a_vm_changed_is_read_once_more() -> None:
    one = Driven(prop("domains", ticks=3600.0, push="always"), allow=("vm",))
    one.step(Loaded(("ram",), {"vm-stop": "vm"}))
    one.until_reads()
    one.ask(Execute(execution="a", command="vm-stop", parameters={"vm": "mail1"}))
    one.step(Journaled("a"))
    one.step(RunDone("a", "ok", "", None, "", 1.0))
    assert one.found(Read) == []
    one.read_done("domains", 1)
    assert len(one.found(Read)) == 1
    one.read_done("domains", 2)
    assert one.found(Read) == []
