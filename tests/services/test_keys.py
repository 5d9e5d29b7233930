"""Keys on disk: made once, kept private, refused when somebody else could have had a hand in them."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from common import keys
from common.keys import KeyFault, Keyring


def new_raw() -> bytes:
    return keys.raw_public(SigningKey.generate())


def test_the_key_is_made_once_and_only_we_may_read_it(tmp_path: Path) -> None:
    old_umask = os.umask(0)
    try:
        first = keys.own_key(tmp_path / "state", "xen1.example.org")
    finally:
        os.umask(old_umask)
    again = keys.own_key(tmp_path / "state", "xen1.example.org")
    assert keys.raw_public(first) == keys.raw_public(again)
    assert (tmp_path / "state/key").stat().st_mode & 0o777 == 0o600
    assert keys.read_public(tmp_path / "state/key.pub") == ("xen1.example.org", keys.raw_public(first))
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["key", "key.pub"]


def test_daemons_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    gate = threading.Barrier(8)

    def start(_: int) -> bytes:
        gate.wait(timeout=30)
        return keys.raw_public(keys.own_key(tmp_path, "xen1"))

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(start, range(8)))) == 1


def test_the_public_half_follows_a_new_name(tmp_path: Path) -> None:
    keys.own_key(tmp_path, "old")
    keys.own_key(tmp_path, "new")
    assert keys.read_public(tmp_path / "key.pub")[0] == "new"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_private_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    keys.own_key(tmp_path, "xen1")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(KeyFault, match=r"key: others may read or write it \(mode 0\d+\); use chmod 600"):
        keys.own_key(tmp_path, "xen1")


@pytest.mark.parametrize(
    "text",
    [
        "not a key\n",
        "",
        "-----BEGIN PRIVATE KEY-----\n",
        f"vmherd-ed25519 {'1f' * 32} xen1\n",
        f"vmherd-ed25519-secret {'1f' * 31}\n",
        f"vmherd-ed25519-secret {'1f' * 32}\nmore\n",
    ],
)
def test_a_file_that_is_no_key_is_refused_and_left_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(KeyFault, match="key: is not one line `vmherd-ed25519-secret <64 hex digits>`"):
        keys.own_key(tmp_path, "xen1")
    assert path.read_text() == text


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFault, match="file"):
        keys.own_key(tmp_path / "file" / "state", "xen1")


@pytest.mark.parametrize("name", ["", "../root", "a b", "a\nb", ".hidden", "ä", "a/b", "x" * 256, "a\x1b[2J"])
def test_names_that_could_be_a_path_or_forge_a_line_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyFault):
        keys.own_key(tmp_path, name)
    with pytest.raises(KeyFault):
        keys.add_manager(tmp_path, name, new_raw())
    with pytest.raises(KeyFault):
        Keyring().set(name, new_raw(), "client", "accepted")


@pytest.mark.parametrize(
    "text",
    ["", "\n", "vmherd-ed25519", "vmherd-ed25519 00 xen1", "ssh-ed25519 " + "00" * 32 + " xen1", "vmherd-ed25519 zz xen1",
     "vmherd-ed25519 " + "ab" * 32 + " a/b", "vmherd-ed25519 " + "ab" * 32, "vmherd-ed25519\n" + "ab" * 32 + "\nxen1",
     "\xff\xfe"],
)  # fmt: skip
def test_a_public_file_of_another_form_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.pub"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(KeyFault, match=r"x\.pub"):
        keys.read_public(path)


def test_the_public_line_is_read_back(tmp_path: Path) -> None:
    raw = new_raw()
    (tmp_path / "x.pub").write_text(keys.public_line(raw, "m1") + "\n")
    assert keys.read_public(tmp_path / "x.pub") == ("m1", raw)


def test_a_fingerprint_is_sixteen_bytes_in_fours() -> None:
    # printf '%s' 00..00 | xxd -r -p | sha256sum: 66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925
    assert keys.fingerprint(bytes(32)) == "6668:7aad:f862:bd77:6c8f:c18b:8e9f:8e20"


def test_managers_in_the_folder_are_trusted_by_their_own_name(tmp_path: Path) -> None:
    folder = tmp_path / "managers"
    assert keys.load_managers(folder) == {}
    raw = new_raw()
    keys.add_manager(folder, "m1.example.org", raw)
    assert keys.load_managers(folder) == {"m1.example.org": raw}


def test_all_faults_of_the_managers_folder_are_told_at_once(tmp_path: Path) -> None:
    keys.add_manager(tmp_path, "m1", new_raw())
    keys.add_manager(tmp_path, "m2", new_raw()).rename(tmp_path / "m3.pub")
    (tmp_path / "m4.pub").write_text("rubbish")
    keys.add_manager(tmp_path, "m5", new_raw()).chmod(0o666)
    with pytest.raises(KeyFault) as caught:
        keys.load_managers(tmp_path)
    assert [line.split("/")[-1].split(":")[0] for line in str(caught.value).splitlines()] == ["m3.pub", "m4.pub", "m5.pub"]


def test_local_keys_are_found_with_their_roles(tmp_path: Path) -> None:
    client, manager = SigningKey.generate(), SigningKey.generate()
    keys.publish_local(tmp_path, "xen1", "client", client)
    keys.publish_local(tmp_path, "m1", "manager", manager)
    keys.publish_local(tmp_path, "m1", "manager", manager)
    found = keys.scan_local(tmp_path)
    assert found.accepted == (("m1", keys.raw_public(manager), "manager"), ("xen1", keys.raw_public(client), "client"))
    assert found.refused == ()


def test_local_keys_that_others_could_have_laid_are_refused_with_the_reason(tmp_path: Path) -> None:
    good = keys.publish_local(tmp_path, "good", "client", SigningKey.generate())
    keys.publish_local(tmp_path, "open", "client", SigningKey.generate()).chmod(0o664)
    (tmp_path / "link.client.pub").symlink_to(good)
    linked = keys.publish_local(tmp_path, "twice", "client", SigningKey.generate())
    os.link(linked, tmp_path / "twice.manager.pub")
    keys.publish_local(tmp_path, "plain", "client", SigningKey.generate()).rename(tmp_path / "other.client.pub")
    os.mkfifo(tmp_path / "pipe.client.pub")
    found = keys.scan_local(tmp_path)
    assert [name for name, _, _ in found.accepted] == ["good"]
    assert sorted(Path(text.split(":")[0]).name for text in found.refused) == [
        "link.client.pub", "open.client.pub", "other.client.pub", "pipe.client.pub", "twice.client.pub", "twice.manager.pub",
    ]  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_local_keys_of_another_user_are_refused(tmp_path: Path) -> None:
    os.chown(keys.publish_local(tmp_path, "xen1", "client", SigningKey.generate()), 12345, -1)
    found = keys.scan_local(tmp_path)
    assert found.accepted == ()
    assert "belongs to user 12345" in found.refused[0]


def test_a_local_folder_that_others_may_write_proves_nothing_unless_sticky(tmp_path: Path) -> None:
    keys.publish_local(tmp_path, "xen1", "client", SigningKey.generate())
    tmp_path.chmod(0o777)
    assert keys.scan_local(tmp_path).accepted == ()
    assert "others may write it" in keys.scan_local(tmp_path).refused[0]
    tmp_path.chmod(0o1777)
    assert len(keys.scan_local(tmp_path).accepted) == 1


def test_a_local_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert keys.scan_local(tmp_path / "none") == keys.LocalKeys((), ())


def test_a_keyring_finds_what_was_set_and_forgets_what_was_removed() -> None:
    ring, raw = Keyring(), new_raw()
    ring.set("xen1", raw, "client", "pending")
    ring.set("xen1", raw, "client", "accepted")
    found = ring.find("xen1")
    assert found is not None
    assert found[1:] == ("client", "accepted")
    assert [(known.name, known.raw) for known in ring.items()] == [("xen1", raw)]
    ring.remove("xen1")
    ring.remove("xen1")
    assert ring.find("xen1") is None


def test_a_bad_entry_leaves_the_keyring_as_it_was() -> None:
    ring = Keyring()
    with pytest.raises(KeyFault, match="31 bytes"):
        ring.update([("xen1", new_raw(), "client", "accepted"), ("xen2", bytes(31), "client", "accepted")])
    assert ring.items() == ()


def test_no_change_is_lost_when_many_threads_write() -> None:
    ring, raw = Keyring(), new_raw()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: ring.set(f"xen{n}", raw, "client", "accepted"), range(200)))
    assert len(ring.items()) == 200


def test_a_state_folder_that_anybody_may_write_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    keys.own_key(state, "m1")
    state.chmod(0o777)
    with pytest.raises(KeyFault, match="others may write it"):
        keys.own_key(state, "m1")
    state.chmod(0o750)
    keys.own_key(state, "m1")
