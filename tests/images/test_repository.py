"""Publishing: whole or not at all, by any number of people at once, and whatever dies in the middle."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.images import Draft, ImageFault, Repository
from common.images.manifest import MANIFEST, Role
from common.images.repository import unheard
from common.images.writing import LEFTOVER_S
from tests.images.shelves import DIED, ENDED, FAILED, child, contents, dies_at, draft, newest

MANY = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_what_is_added_last_is_the_newest_even_with_a_clock_that_was_set_back(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.add(draft(tmp_path / "a", version="2"))
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    repository.add(draft(tmp_path / "b", version="1"))
    assert newest(repository).version == "1"
    assert newest(repository).made_at == 1000.0


def test_a_version_is_made_of_the_date_and_a_counter(repository: Repository, tmp_path: Path) -> None:
    made = [repository.add(draft(tmp_path / "a", text=str(number))) for number in range(3)]
    days = {manifest.version.rpartition("-")[0] for manifest in made}
    assert days <= {time.strftime("%Y.%m.%d"), made[0].version.rpartition("-")[0]}  # midnight may have passed
    assert made[0].version.endswith("-1")
    repository.remove("node", made[2].version)
    assert repository.add(draft(tmp_path / "a")).version not in {manifest.version for manifest in made}


def test_published_files_are_for_reading_only(repository: Repository, tmp_path: Path) -> None:
    place = repository.place(repository.add(draft(tmp_path / "a")))
    assert sorted(path.name for path in place.iterdir()) == ["initrd", "kernel", MANIFEST]
    assert {path.stat().st_mode & 0o222 for path in place.iterdir()} == {0}


def test_a_version_is_never_changed_and_never_used_again(repository: Repository, tmp_path: Path) -> None:
    repository.add(draft(tmp_path / "a", version="1", text="first"))
    with pytest.raises(ImageFault, match="node@1 exists already"):
        repository.add(draft(tmp_path / "b", version="1", text="second"))
    repository.remove("node", "1")
    with pytest.raises(ImageFault, match="was removed; a version is not used again"):
        repository.add(draft(tmp_path / "b", version="1", text="second"))
    with pytest.raises(ImageFault, match="there is no image node@1"):
        repository.remove("node", "1")
    assert repository.unfinished_paths() == []


def test_a_crash_at_any_step_of_add_leaves_a_good_repository(repository: Repository, tmp_path: Path) -> None:
    repository.add(draft(tmp_path / "a", version="first"))
    code, step = DIED, 0
    while code == DIED:
        given = draft(tmp_path / "b", version=f"v{step}")
        code = dies_at(step, lambda given=given: repository.add(given))  # type: ignore[misc]
        assert contents(repository).keys() - {f"v{each}" for each in range(step + 1)} == {"first"}
        step += 1
    assert code == ENDED
    assert step > 20
    assert newest(repository).version == f"v{step - 1}"
    left = repository.unfinished_paths()
    assert left, "no crash left anything behind: the steps are not those of add"
    for path in left:
        for each in (*path.iterdir(), path):
            os.utime(each, times=(0, time.time() - LEFTOVER_S - 60))
    repository.add(draft(tmp_path / "a", version="last"))
    assert repository.unfinished_paths() == []
    numbers = list(contents(repository).values())
    assert len(set(numbers)) == len(numbers)


def test_a_crash_at_any_step_of_remove_leaves_it_whole_or_gone(repository: Repository, tmp_path: Path) -> None:
    repository.add(draft(tmp_path / "a", version="stays"))
    code, step = DIED, 0
    while code == DIED:
        repository.add(draft(tmp_path / "b", version=f"v{step}"))
        code = dies_at(step, lambda step=step: repository.remove("node", f"v{step}"))  # type: ignore[misc]
        assert "stays" in contents(repository)
        if f"v{step}" in contents(repository):
            repository.remove("node", f"v{step}")
        step += 1
    assert code == ENDED
    assert contents(repository).keys() == {"stays"}


def test_an_empty_mount_point_is_no_repository(tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    with pytest.raises(ImageFault, match="is it mounted"):
        Repository(tmp_path / "mnt").add(draft(tmp_path / "a"))
    assert list((tmp_path / "mnt").iterdir()) == []


def test_a_repository_does_not_begin_where_something_else_is(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/letter").touch()
    with pytest.raises(ImageFault, match="holds something else already"):
        Repository.create(tmp_path / "home")


@pytest.mark.parametrize("made", ["share/node", "share/node/.order", "share/node/1", "share/.incoming"])
def test_no_link_in_the_share_leads_a_publication_elsewhere(repository: Repository, tmp_path: Path, made: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    place = tmp_path / made
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        place.rmdir()
    place.symlink_to(elsewhere)
    with pytest.raises(ImageFault) as raised:
        repository.add(draft(tmp_path / "a", version="1"))
    assert list(elsewhere.iterdir()) == []
    assert "\n" not in str(raised.value)


def test_a_link_instead_of_a_version_is_removed_and_not_followed(repository: Repository, tmp_path: Path) -> None:
    repository.add(draft(tmp_path / "a", version="1"))
    (repository.path / "node/2").symlink_to(tmp_path / "a")
    assert contents(repository).keys() == {"1"}
    repository.remove("node", "2")
    assert (tmp_path / "a/vmlinuz").exists()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.symlink_to("/etc/hostname"), "kernel is a symbolic link"),
        (lambda path: os.mkfifo(path), "kernel is no plain file"),
        (lambda path: path.mkdir(), "kernel is no plain file"),
        (lambda path: path.write_text("short"), "kernel has 5 bytes, and its manifest says"),
        (lambda path: path.write_text("x" * 100_000), "kernel has more than"),
        (lambda path: path.write_text("kernel 2\n" * 200), "kernel is not what was published: its SHA-256 is"),
        (lambda path: None, "kernel is missing"),
    ],
    ids=["link", "fifo", "folder", "short", "long", "other", "gone"],
)
def test_what_verify_says_of_a_file(repository: Repository, tmp_path: Path, make, says: str) -> None:  # type: ignore[no-untyped-def]
    manifest = repository.add(draft(tmp_path / "a", version="1"))
    path = repository.place(manifest) / "kernel"
    path.unlink()
    make(path)
    with pytest.raises(ImageFault, match=says) as raised:
        repository.verify(manifest, unheard)
    assert str(path) in str(raised.value)


@MANY
@given(st.data())
def test_any_corruption_is_found_by_verify(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("corrupt")
    repository = Repository.create(folder / "share")
    place = repository.place(repository.add(draft(folder / "a", version="1", note="a note")))
    path = place / data.draw(st.sampled_from(["kernel", "initrd", MANIFEST]))
    old = path.read_bytes()
    at = int(data.draw(st.floats(0, 1, exclude_max=True)) * len(old))  # a manifest's length differs with the time
    put = data.draw(st.binary(max_size=4))
    new = data.draw(st.sampled_from([old[:at] + put + old[at + len(put) :], old[:at] + put + old[at:], old[:at] + put]))
    path.unlink()
    path.write_bytes(new)
    found, faults = repository.versions("node", unheard)
    for manifest in found:
        try:
            repository.verify(manifest, unheard)
        except ImageFault as fault:
            faults.append(str(fault))
    assert bool(faults) == (new != old), (path.name, at, put)
    assert all(str(path) in fault for fault in faults)


def test_a_damaged_version_does_not_hide_the_others_but_nobody_guesses_which_is_the_newest(
    repository: Repository, tmp_path: Path
) -> None:
    repository.add(draft(tmp_path / "a", version="1"))
    bad = repository.place(repository.add(draft(tmp_path / "a", version="2"))) / MANIFEST
    bad.unlink()
    found, faults = repository.versions("node", unheard)
    assert [manifest.version for manifest in found] == ["1"]
    assert faults == [f"{bad} is missing"]
    with pytest.raises(
        ImageFault, match=r"which version of node is the newest cannot be told: .*node/2/manifest\.json is miss"
    ):
        repository.find("node", unheard)
    assert repository.find("node@1", unheard).version == "1"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kernel": b""}, "is empty"),
        ({"disk": b"QFI\xfb" + b"\0" * 600}, "is a qcow2 disk: make it raw with"),
    ],
)
def test_what_cannot_be_published(repository: Repository, tmp_path: Path, change: dict[Role, bytes], says: str) -> None:
    given = draft(tmp_path / "a")
    for role, held in change.items():
        (tmp_path / "a" / role).write_bytes(held)
    files: dict[Role, Path] = dict(given.files)
    files |= {role: tmp_path / "a" / role for role in change}
    with pytest.raises(ImageFault, match=says):
        repository.add(Draft(given.name, files, given.made_by))
    assert repository.unfinished_paths() == []
    assert contents(repository) == {}


@pytest.fixture(name="small")
def _small(tmp_path: Path) -> Iterator[Path]:
    """A file system of a quarter of a megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs root, and the right to mount a tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_share_is_told_and_nothing_stays(small: Path, tmp_path: Path) -> None:
    repository = Repository.create(small)
    repository.add(draft(tmp_path / "a", version="1"))
    with pytest.raises(ImageFault, match=f"no room left in {small}; nothing was changed"):
        repository.add(draft(tmp_path / "b", version="2", text="x" * 3000))
    assert contents(repository).keys() == {"1"}
    assert repository.unfinished_paths() == []
    repository.add(draft(tmp_path / "b", version="2"))
    assert newest(repository).version == "2"


@pytest.mark.slow
def test_two_people_add_at_once_and_each_gets_a_version_of_his_own(repository: Repository, tmp_path: Path) -> None:
    sources = [draft(tmp_path / f"s{number}", text=str(number)) for number in range(8)]
    pids = [os.fork() or os._exit(child_adds(repository, given)) for given in sources]
    assert {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids} == {0}
    numbers = contents(repository)
    assert len(numbers) == 8
    assert len(set(numbers.values())) == 8


def child_adds(repository: Repository, given: Draft) -> int:
    try:
        repository.add(given)
    except ImageFault:
        return FAILED
    return ENDED


def test_of_two_who_want_the_same_version_one_gets_it(repository: Repository, tmp_path: Path) -> None:
    given = draft(tmp_path / "a", version="1", text="mine")
    other = draft(tmp_path / "b", version="1", text="theirs")

    def while_copying(text: str) -> None:
        if "node" in text and not (repository.path / "node/1").exists():
            assert child(lambda: repository.add(other)) == ENDED

    with pytest.raises(ImageFault, match="node@1 exists already"):
        repository.add(given, while_copying)
    assert (repository.path / "node/1/kernel").read_text().startswith("kernel theirs")
    assert repository.unfinished_paths() == []
