"""What the labs' watches call a domain that runs twice, and what they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from halab.watch import Watch
from plugins.sim_world import SimDomain, SimHost, SimWorld
from xenlab.beats import Beats


@pytest.mark.parametrize(
    ("story", "twice"),
    [
        ("a1 a2 a3", 0),
        ("a1 a2 b3 b4", 0),  # moved, or restarted there
        ("a1 b2 a3", 1),
        ("a1 b2 b4 a6", 1),
        ("a1 b2 b9 b15 a20", 0),  # and came back
    ],
)
def test_beats_by_turns_are_a_domain_that_runs_twice(tmp_path: Path, story: str, twice: int) -> None:
    beats = Beats(tmp_path)
    sizes: dict[tuple[str, str], int] = {}
    for word in story.split():
        sizes["web1", word[0]] = sizes.get(("web1", word[0]), 0) + 10
        beats.look(dict(sizes), float(word[1:]))
    assert len(beats.twice) == twice, beats.twice


def test_a_life_begins_where_it_was_not_before(tmp_path: Path) -> None:
    beats = Beats(tmp_path)
    for size, (host, now) in enumerate([("a", 1.0), ("a", 2.0), ("b", 19.0), ("b", 20.0)], 1):
        beats.look({("web1", host): size}, now)
    assert beats.began == {"web1": ("b", 19.0)}


def test_a_vm_on_two_hosts_is_told_once_and_when_it_answered_is_kept(tmp_path: Path) -> None:
    watch = Watch(SimWorld(tmp_path), ("h1", "h2"))

    def host(boots_at: float) -> SimHost:
        return SimHost(domains={"vm1": SimDomain("vm1", "u", 1, 1, 1, "pvh", boots_at)})

    watch.look({"h1": host(5.0), "h2": SimHost()}, now=1.0, wall=4.0)
    assert not watch.since
    watch.look({"h1": host(5.0), "h2": SimHost()}, now=3.0, wall=6.0)
    watch.look({"h1": host(5.0), "h2": SimHost()}, now=4.0, wall=7.0)
    assert watch.since == {("vm1", "h1"): 3.0}
    for now in (5.0, 6.0):
        watch.look({"h1": host(5.0), "h2": host(5.0)}, now=now, wall=8.0)
    assert [(one.vm, one.hosts, one.at) for one in watch.twice] == [("vm1", ("h1", "h2"), 5.0)]
