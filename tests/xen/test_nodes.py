"""Real domains as nodes of the simulated batch system: one that answers is up, one that is silent for long is not."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from plugins.batch_sim import SimBatch
from plugins.sim_world import SimHost, SimWorld
from xenlab import nodes
from xenlab.nodes import MISSED_MAX, SHADOWS, answers, shadow


def test_a_domain_is_a_node_while_it_answers(tmp_path: Path) -> None:
    world, batch = SimWorld(tmp_path), SimBatch("head", tmp_path, ("sl4", "debian"))
    world.add_host(SHADOWS, SimHost())

    def seen(**missed: int) -> list[tuple[str, str]]:
        shadow(world, {name.replace("_", "-"): looks for name, looks in missed.items()}, now=1_000.0)
        return [(one.name, one.state) for one in batch.nodes(limit_s=5)]

    assert seen(sl4_xen1=MISSED_MAX, debian_xen1=MISSED_MAX + 1) == []
    assert seen(sl4_xen1=0, debian_xen1=9) == [("sl4-xen1", "idle")]
    assert seen(sl4_xen1=MISSED_MAX - 1, debian_xen1=9) == [("sl4-xen1", "idle")]
    assert seen(sl4_xen1=MISSED_MAX, debian_xen1=0) == [("debian-xen1", "idle")]


def test_an_address_answers_when_its_kernel_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        silent = one.getsockname()[1]  # somebody listens, and says nothing
        monkeypatch.setattr(nodes, "PORT", silent)
        monkeypatch.setattr(nodes, "ANSWER_S", 0.1)
        assert not answers("127.0.0.1")
    assert answers("127.0.0.1")
