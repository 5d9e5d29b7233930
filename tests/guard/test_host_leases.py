"""The client's core: it asks for leases, counts them from the asking, and lets nothing protected come to life without one."""

from __future__ import annotations

from typing import TypeVar

import pytest

from common.config.model import GuardConfig, HypervisorConfig
from common.leases import Terms, mute_s
from common.leasewords import LEASE, WORD, WORDS, Ask, Grant
from common.protocol import ClbControl, Control, ExecErr, Execute, FetchProp, PropVal, Value
from common.words import FORGOT, Plea, Word
from tests.client.driven import Driven
from vmclient.events import (
    Abort,
    GuardCame,
    GuardFailed,
    GuardGone,
    GuardSaid,
    Journal,
    Journaled,
    Run,
    RunDone,
    Slept,
    StartGuard,
    ToGuard,
)
from vmclient.guardwords import Lease, Protect, Protected, Settled, Status

TERMS = Terms()
DEFINITION: Value = {"memory_bytes": 2**30, "kernel": "/boot/k", "protect": True}
E = TypeVar("E")


class Guarded(Driven):
    """A host with a hypervisor; `n` of its last asking."""

    def __init__(self, *, witness: bool = False) -> None:
        super().__init__(allow=("vm",), hypervisor=HypervisorConfig(engine="sim"), failover=GuardConfig(witness=witness))
        self.asked: list[tuple[float, Ask]] = []

    def grant(self, *hosts: tuple[str, int], terms: Terms = TERMS, epoch: int = 3, protected: tuple[str, ...] = ()) -> None:
        grant = Grant(terms, dict(hosts), {name: protected for name, _ in hosts})
        self.ask(Control(verb=LEASE, arguments=grant.values()), epoch=epoch)

    def guard(self, **what: object) -> None:
        self.step(GuardSaid(Status(**what)))  # type: ignore[arg-type]

    def until_ask(self) -> Ask:
        for _ in range(50):
            self.until_wake()
            for message in self.said():
                if isinstance(message, ClbControl) and message.verb == LEASE:
                    ask = Ask.of(message.values)
                    assert ask is not None
                    return ask
        raise AssertionError("it never asks")

    def lease(self) -> Ask:
        """The guard is there, and a lease is granted at once."""
        self.grant()
        self.step(GuardCame())
        self.guard(watchdog="dog", watchdog_s=8.0)
        ask = self.until_ask()
        self.grant(("xen1", ask.n))
        return ask

    def start(self, execution: str = "e1", command: str = "vm-start", **parameters: Value) -> None:
        self.ask(Execute(execution=execution, command=command, parameters={"vm": "mail1", **parameters}))

    def told(self, kind: type[E]) -> list[E]:
        return [say.word for say in self.found(ToGuard) if isinstance(say.word, kind)]

    def refusal(self) -> str:
        found = [message for message in self.said() if isinstance(message, ExecErr)]
        assert [message.kind for message in found] == ["refused"]
        return found[0].reason


def test_a_host_asks_only_when_a_leader_has_told_it_the_numbers_and_its_guard_is_there() -> None:
    host = Guarded()
    host.after(60)
    assert not [message for message in host.said() if isinstance(message, ClbControl) and message.verb == LEASE]
    host.grant()
    assert host.found(StartGuard)
    host.step(GuardCame())
    assert host.told(Lease) == [Lease(0, 0.0, TERMS, None, 0)]
    host.after(10)
    assert not [message for message in host.said() if isinstance(message, ClbControl) and message.verb == LEASE]
    host.guard(watchdog_s=8.0, book=("mail1",), armed=True, storage=5, stopped=2)
    ask = host.until_ask()
    assert ask == Ask(ask.n, "boot-1", ("mail1",), 8.0, True, True, 2)
    later = host.until_ask()
    assert later.n > ask.n


def test_a_client_without_a_hypervisor_has_nothing_to_do_with_leases() -> None:
    host = Driven()
    host.ask(Control(verb=LEASE, arguments=Grant(TERMS, {"xen1": 1}).values()))
    assert host.effects == []


def test_a_lease_counts_from_the_asking_and_the_latest_alone_counts() -> None:
    host = Guarded()
    host.grant()
    host.step(GuardCame())
    host.guard()
    first = host.until_ask()
    asked = host.mono
    second = host.until_ask()
    host.grant(("xen1", first.n))
    assert host.told(Lease)[-1].until == asked + TERMS.lease_s
    host.grant(("xen1", second.n))
    until = host.told(Lease)[-1].until
    assert until == asked + TERMS.beat_s + TERMS.lease_s
    host.grant(("xen1", first.n))
    assert host.told(Lease)[-1].until == until
    host.grant(("xen1", second.n + 7))  # never asked
    assert host.told(Lease)[-1].until == until


def test_a_leader_that_was_deposed_grants_nothing() -> None:
    host = Guarded()
    ask = host.lease()
    host.grant(epoch=4)
    later = host.until_ask()
    host.grant(("xen1", later.n), epoch=3)
    assert host.host.leases.until < host.mono + TERMS.lease_s
    assert "a lease of m1 is none: its epoch is 3, now is 4" in host.notes()
    assert ask.n < later.n


def test_a_protected_vm_starts_when_the_guard_has_it_in_its_book() -> None:
    host = Guarded()
    host.lease()
    host.start(definition=DEFINITION)
    assert host.told(Protect) == [Protect("mail1", "e1")]
    assert not host.found(Journal)
    host.step(GuardSaid(Protected("e1")))
    assert host.found(Journal)
    host.step(Journaled("e1"))
    assert host.found(Run)
    host.step(RunDone("e1", "ok", "", None, "", 1.0))
    assert host.told(Settled) == [Settled("mail1", "e1")]


def test_a_vm_that_is_not_protected_needs_neither() -> None:
    host = Guarded()
    host.start(definition={"memory_bytes": 2**30, "kernel": "/boot/k"})
    host.step(Journaled("e1"))
    assert host.found(Run)


@pytest.mark.parametrize("command", ["vm-restore", "vm-migrate"])
def test_what_the_guard_or_the_leader_knows_to_be_protected_needs_a_lease_whatever_the_order_says(command: str) -> None:
    host = Guarded()
    host.grant()
    host.step(GuardCame())
    host.guard(book=("mail1",))
    host.start(command=command)
    assert host.refusal() == "this host holds no lease that lasts"


def test_a_restore_that_is_told_to_be_of_a_protected_vm_needs_a_lease_and_the_command_does_not_hear_of_it() -> None:
    host = Guarded()
    host.start(command="vm-restore", protect=True)
    assert host.refusal() == "no manager has told this host the numbers of fail-over"
    host.lease()
    host.start("e2", command="vm-restore", protect=True)
    host.step(GuardSaid(Protected("e2")))
    host.step(Journaled("e2"))
    assert [run.parameters for run in host.found(Run)] == [{"vm": "mail1"}]


def test_nothing_starts_on_a_lease_that_ends_within_a_beat() -> None:
    host = Guarded()
    host.lease()
    host.after(TERMS.lease_s - TERMS.beat_s)
    host.start(definition=DEFINITION)
    assert host.refusal() == "this host holds no lease that lasts"


def test_the_guard_may_refuse_be_silent_or_die() -> None:
    host = Guarded()
    host.lease()
    host.start("e1", definition=DEFINITION)
    host.step(GuardSaid(Protected("e1", "its guard cannot note it: disk full")))
    assert host.refusal() == "its guard cannot note it: disk full"
    assert host.told(Settled)
    host.start("e2", definition=DEFINITION)
    host.step(GuardGone())
    assert host.refusal() == "the guard of this host has ended"
    host.start("e3", definition=DEFINITION)
    assert host.refusal() == "the guard of this host is not there"
    host.step(GuardFailed("no memory"))
    host.start("e4", definition=DEFINITION)
    assert host.refusal() == "the guard of this host is not there: no memory"


def test_a_silent_guard_is_not_waited_for_for_ever() -> None:
    host = Guarded()
    host.lease()
    host.start(definition=DEFINITION)
    for _ in range(30):
        host.until_wake()
        if any(isinstance(message, ExecErr) for message in host.said()):
            break
        for message in host.said():
            if isinstance(message, ClbControl) and (ask := Ask.of(message.values)):
                host.grant(("xen1", ask.n))
    assert host.refusal() == "the guard of this host does not answer"


def test_a_journal_that_takes_too_long_starts_nothing() -> None:
    host = Guarded()
    host.lease()
    host.start(definition=DEFINITION)
    host.step(GuardSaid(Protected("e1")))
    host.after(TERMS.lease_s)
    host.step(Journaled("e1"))
    assert not host.found(Run)
    host.step(Journaled("e1"))
    assert host.refusal() == "this host holds no lease that lasts"


def test_when_the_lease_ends_what_starts_a_protected_vm_is_stopped() -> None:
    host = Guarded()
    host.lease()
    host.start(definition=DEFINITION)
    host.step(GuardSaid(Protected("e1")))
    host.step(Journaled("e1"))
    host.after(TERMS.lease_s)
    assert host.found(Abort) == [Abort("e1", "the lease of this host is over")]
    host.after(1)
    assert not host.found(Abort)


def test_a_guard_that_hangs_is_replaced_but_not_because_the_client_slept() -> None:
    host = Guarded()
    host.lease()
    host.after(60.0)  # the client was held up; what the guard said meanwhile comes now
    assert not host.found(StartGuard)
    host.guard()
    host.after(TERMS.beat_s)
    host.guard()
    for _ in range(30):
        host.until_wake()
        if host.found(StartGuard):
            break
    assert host.found(StartGuard) == [StartGuard(anew=True)]


def test_what_was_asked_before_the_machine_slept_brings_no_lease_after_it() -> None:
    host = Guarded()
    host.grant()
    host.step(GuardCame())
    host.guard()
    ask = host.until_ask()
    host.step(Slept(60.0))
    host.grant(("xen1", ask.n))
    assert host.told(Lease)[-1].until < host.mono


def test_a_new_guard_hears_what_is_being_started() -> None:
    host = Guarded()
    host.lease()
    host.start(definition=DEFINITION)
    host.step(GuardSaid(Protected("e1")))
    host.step(Journaled("e1"))
    host.step(GuardGone())
    host.step(GuardCame())
    assert host.told(Protect) == [Protect("mail1", "e1")]


def test_a_host_whose_guard_cannot_be_started_asks_on_and_takes_back_nothing_that_it_said_of_its_storage() -> None:
    host = Guarded()
    host.grant()
    host.step(GuardCame())
    host.guard(storage=5, book=("mail1",), armed=True, watchdog_s=8.0)
    assert host.until_ask().armed
    host.step(GuardGone())
    host.step(GuardFailed("no memory"))
    ask = host.until_ask()
    assert (ask.storage, ask.protected, ask.armed) == (True, ("mail1",), False)


def test_an_asking_without_storage_takes_back_what_one_before_said_of_it() -> None:
    host = Guarded()
    host.grant()
    host.step(GuardCame())
    host.guard(storage=5)
    first = host.until_ask()
    host.guard(storage=0)
    host.until_ask()
    host.grant(("xen1", first.n))
    assert host.told(Lease)[-1].storage == 0


def test_the_property_lease_says_what_is_so() -> None:
    host = Guarded()
    host.lease()
    request = host.ask(FetchProp(names=("lease",)))
    (answer,) = host.said(request)
    assert isinstance(answer, PropVal)
    assert answer.reading.value == {
        "state": "lease", "left_s": 8.0, "guard": "there", "watchdog": "dog", "watchdog_s": 8.0, "armed": False,
        "storage": False, "claim": 0, "protected": [],
    }  # fmt: skip


# --- the witness --------------------------------------------------------------------------------------------------------------


def plea(host: Guarded, epoch: int, n: int = 1, sender: str = "m1", over: bool = False) -> list[ClbControl]:
    words = Plea(epoch, n, TERMS.authority_s, TERMS.drift, over)
    request = host.ask(Control(verb=WORDS, arguments=words.values()), sender=sender, epoch=epoch)
    return [message for message in host.said(request) if isinstance(message, ClbControl)]


def test_a_witness_gives_its_word_to_one_leader_at_a_time_and_to_none_at_first() -> None:
    host = Guarded(witness=True)
    (answer,) = plea(host, 5)
    assert (answer.verb, answer.ok) == (WORD, False)
    host.after(mute_s(TERMS))
    (answer,) = plea(host, 5, n=2)
    assert Word.of(answer.values) == Word("m1", 5, 2, 3, FORGOT)
    (answer,) = plea(host, 6, sender="m2")
    assert answer.reason.startswith("it gave its word to m1 (epoch 5)")
    host.after(mute_s(TERMS))
    (answer,) = plea(host, 6, sender="m2")
    assert answer.ok


def test_a_client_that_is_no_witness_gives_no_word() -> None:
    host = Guarded()
    host.after(60)
    (answer,) = plea(host, 5)
    assert not answer.ok
