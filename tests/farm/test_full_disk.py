"""A full disk under the manager: it goes on, says so, acknowledges nothing that it did not keep, and heals."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.farm.farm import Farm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

RULE = """\
[knob_odd]
each = clients
expr = { client.knob % 2 == 1 }
fire = once
cmd = { sender.send_execute("exec", {"program": "note", "text": f"odd {client.knob}"}) }
on_update_check = yes
""" + "".join(f"\n[{name}]\nexpr = {{ False }}\nticks = 1h\n" for name in ("before", "full", "after"))


@pytest.fixture(name="small")
def _small(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs root, and the right to mount a tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> None:
    with contextlib.suppress(OSError), (place / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def test_a_manager_on_a_full_disk_works_on_and_keeps_what_it_acknowledges(small: Path, farm: Farm) -> None:
    farm.manager("m1", state=str(small / "state"), triggers=RULE)
    farm.client("c1")
    farm.wait("c1 is in", lambda: farm.clients("m1") == {"c1": "connected"})
    assert farm.vmctl("m1", "silence", "before", "--for", "1h", "--why", "there was room").code == 0
    fill(small)
    refused = farm.vmctl("m1", "silence", "full", "--for", "1h", "--why", "x" * 900)
    assert refused.code == 1, refused
    assert "full" in refused.err
    farm.logged("m1", "cannot be written")
    assert "full" in farm.vmctl("m1", "status").out
    assert not farm.status("m1")["store"]["ok"]
    farm.turn("c1", 1)
    farm.wait("triggers fire", lambda: farm.notes("c1") == ["odd 1"])
    assert farm.vmctl("m1", "exec", "exec", "program=note", "text=asked", "--on", "c1", "--yes").code == 0
    assert len(farm.lines("m1", "cannot be written")) == 1

    (small / "ballast").unlink()
    farm.wait("it heals", lambda: farm.status("m1")["store"]["ok"])
    farm.logged("m1", "written again")
    assert farm.vmctl("m1", "silence", "after", "--for", "1h", "--why", "room again").code == 0
    farm.kill("m1")
    farm.start_manager("m1")
    farm.wait("it leads", lambda: farm.leads("m1"))
    kept = {row["what"] for row in farm.vmctl("m1", "silence", "list", "--json").json}
    assert {"before", "after"} <= kept
    assert any("knob_odd of c1: fired" in text for text in farm.texts("m1"))
    farm.wait("c1 is in", lambda: farm.clients("m1") == {"c1": "connected"})
    assert farm.notes("c1") == ["odd 1", "asked"]
    assert farm.stop("m1") == 0  # nothing is left open below the mount


def test_a_manager_that_starts_on_a_full_disk_waits_with_leading_until_there_is_room(small: Path, farm: Farm) -> None:
    farm.manager("m1", state=str(small / "state"))
    farm.wait("it leads", lambda: farm.leads("m1"))
    farm.kill("m1")
    fill(small)
    farm.start_manager("m1")
    farm.logged("m1", "cannot")
    (small / "ballast").unlink()
    farm.wait("it leads again", lambda: farm.leads("m1"))
    assert farm.stop("m1") == 0


def test_a_client_on_a_full_disk_runs_nothing_that_it_cannot_note_and_says_so(small: Path, farm: Farm) -> None:
    farm.manager("m1")
    farm.client("c1", state=str(small / "state"))
    farm.wait("c1 is in", lambda: farm.clients("m1") == {"c1": "connected"})
    assert farm.vmctl("m1", "exec", "exec", "program=note", "text=first", "--on", "c1", "--yes").code == 0
    fill(small)
    refused = farm.vmctl("m1", "exec", "exec", "program=note", "text=second", "--on", "c1", "--yes")
    assert refused.code == 1, refused
    assert "No space left" in " ".join(refused.out.split())
    farm.turn("c1", 4)
    farm.wait("it is read and told all the same", lambda: farm.values("m1", "knob") == {"c1": 4})
    (small / "ballast").unlink()
    assert farm.vmctl("m1", "exec", "exec", "program=note", "text=third", "--on", "c1", "--yes").code == 0
    assert farm.notes("c1") == ["first", "third"]
    assert farm.stop("c1") == 0
