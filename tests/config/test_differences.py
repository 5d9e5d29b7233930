"""What the log says of a reload."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from common.config.build import CLIENT_SHAPE, PROPERTY_SHAPE, Findings, client, properties
from common.config.differences import differences
from common.config.load import parse_triggers
from common.config.model import ClientConfig, LogConfig, ManagerConfig
from common.config.tree import read_tree


def manager(triggers: str) -> ManagerConfig:
    return ManagerConfig("m1", triggers=parse_triggers(triggers))


def host(own: str, of_properties: str) -> ClientConfig:
    found = Findings()
    made = properties([read_tree(of_properties, "p.ini", PROPERTY_SHAPE)], found)
    config = client(read_tree(own, "vmclient.ini", CLIENT_SHAPE), "host", made, found)
    assert not found.faults
    return config


def test_each_key_of_a_trigger_in_the_words_of_the_file() -> None:
    old = manager("[ram_low]\nexpr = { a < 1 }\n[gone]\nexpr = { True }\n")
    new = manager(
        "# moved\n[ram_low]\nexpr = { a < 2 }\ncooldown = 5m\nmax_actions = 5 per 1h\nenabled = no\nticks = 30\n"
        "depends_on = new\n[new]\nexpr = { True }\n"
    )
    assert differences(old, new) == [
        "trigger gone: removed",
        "trigger new: added",
        "trigger ram_low: expr { a < 1 } -> { a < 2 }",
        "trigger ram_low: ticks -1 -> 30s",
        "trigger ram_low: cooldown 0 -> 5m",
        "trigger ram_low: depends_on (none) -> new",
        "trigger ram_low: max_actions 0 -> 5 per 1h",
        "trigger ram_low: enabled yes -> no",
    ]


def test_code_that_comes_or_is_long() -> None:
    old = manager("[a]\nexpr = { True }\n")
    new = manager("[a]\nexpr = { True }\ncmd = { pass }\n")
    long = manager(f"[a]\nexpr = {{ True }}\ncmd = {{ x = '{'x' * 200}' }}\n")
    assert differences(old, new) == ["trigger a: cmd (none) -> { pass }"]
    assert differences(new, long) == ["trigger a: cmd changed"]


def test_a_section_that_only_moved_is_no_change() -> None:
    assert differences(manager("[a]\nexpr = { True }\n"), manager("\n\n[a]\nticks = -1\nexpr = { True }\n")) == []


def test_the_client_its_properties_and_programs() -> None:
    old = host("[client]\ngroups = a\n[programs]\n[[p]]\nargv = /bin/p, {x}\n[[[patterns]]]\nx = a\n", "[r]\ncommand = ram\n")
    new = host(
        "[client]\ngroups = a, b\n[log]\n[[levels]]\nbus = DEBUG\n[bus]\nreconnect_max = 1m\n"
        "[programs]\n[[p]]\nargv = /bin/p, {x}\n[[[patterns]]]\nx = b\n",
        "[r]\ncommand = ram\nticks = 5m\nunit = KiB\n[[parameters]]\nfield = MemFree\n",
    )
    assert differences(old, new) == [
        "[client] groups a -> a, b",
        "[bus] reconnect_max 10s -> 1m",
        "[log] levels: bus (none) -> DEBUG",
        "property r: ticks 1m -> 5m",
        "property r: unit (none) -> KiB",
        "property r: parameters: field (none) -> MemFree",
        "program p: patterns: x a -> b",
    ]


def test_another_hypervisor() -> None:
    old = host("[hypervisor]\nengine = sim\nfarm = /srv/farm\n", "")
    new = host("[hypervisor]\nengine = xl\nticks = 5s\n", "")
    assert differences(old, new) == [
        "[hypervisor] engine sim -> xl",
        "[hypervisor] ticks 10s -> 5s",
        "[hypervisor] farm /srv/farm -> (none)",
        "property domains: ticks 10s -> 5s",
        "property hypervisor: ticks 10s -> 5s",
    ]
    assert "property domains: removed" in differences(old, host("", ""))


def test_another_batch_system() -> None:
    old = host("[batch]\nengine = sim\nfarm = /srv/farm\nsim_queues = sl4,\n", "")
    new = host("[batch]\nengine = slurm\nticks = 5s\n", "")
    assert differences(old, new) == [
        "[batch] engine sim -> slurm",
        "[batch] ticks 10s -> 5s",
        "[batch] farm /srv/farm -> (none)",
        "[batch] sim_queues sl4 -> (none)",
        "property batch_jobs: ticks 10s -> 5s",
        "property batch_nodes: ticks 10s -> 5s",
    ]


def test_the_manager_itself() -> None:
    old = ManagerConfig("m1")
    new = replace(old, managers=("m1", "m2"), log=LogConfig(target="file", file=Path("/var/log/m.log")), stale_factor=2.5)
    assert differences(old, new) == [
        "[manager] managers (none) -> m1, m2",
        "[manager] stale_factor 3 -> 2.5",
        "[log] target stderr -> file",
        "[log] file (none) -> /var/log/m.log",
    ]
    assert differences(new, new) == []


def test_a_client_is_not_compared_with_a_manager() -> None:
    with pytest.raises(TypeError):
        differences(ManagerConfig("a"), ClientConfig("a"))
