"""The files themselves: who may write them, what cannot be read, folders, names; and how Python sees a trigger file's lines."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from common.config.load import (
    FILE_BYTES_MAX,
    check_client,
    check_manager,
    load_client,
    load_manager,
    load_triggers,
    parse_triggers,
)
from common.config.model import ClientConfig, ConfigurationError, Fault, ManagerConfig

TRIGGER = "[a]\nexpr = { True }\n"
PROPERTY = "[a]\ncommand = load\n"


def put(folder: Path, **files: str | bytes) -> Path:
    """Files by name, __ for / and the ending .ini left out."""
    for name, content in files.items():
        path = folder / (name.replace("__", ".d/") + ".ini")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(0o600)
    return folder


def client(folder: Path) -> ClientConfig:
    return load_client(folder / "vmclient.ini", host_name=lambda: "host")


def manager(folder: Path) -> ManagerConfig:
    return load_manager(folder / "vmmanager.ini", host_name=lambda: "host")


def refusal(folder: Path, load: object = manager) -> str:
    with pytest.raises(ConfigurationError) as raised:
        load(folder)  # type: ignore[operator]
    return str(raised.value).replace(f"{folder}/", "")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o660])
def test_code_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    put(tmp_path, vmmanager="", triggers__a=TRIGGER)
    (tmp_path / "triggers.d/a.ini").chmod(mode)
    assert refusal(tmp_path) == (
        "triggers.d/a.ini: is refused, because it holds code and others than its owner may write it "
        f"(mode {mode:04o}; chmod go-w)"
    )


def test_code_may_be_read_by_anybody(tmp_path: Path) -> None:
    put(tmp_path, vmmanager="", triggers__a=TRIGGER)
    (tmp_path / "triggers.d/a.ini").chmod(0o644)
    assert [one.name for one in manager(tmp_path).triggers] == ["a"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_code_of_another_user_is_refused(tmp_path: Path) -> None:
    put(tmp_path, vmmanager="", triggers__a=TRIGGER)
    os.chown(tmp_path / "triggers.d/a.ini", 12345, -1)
    assert refusal(tmp_path) == (
        "triggers.d/a.ini: is refused, because it holds code and it belongs to user 12345, "
        "neither to root nor to this daemon's user (chown it)"
    )


def test_other_files_that_others_may_write_are_warned_of(tmp_path: Path) -> None:
    put(tmp_path, vmclient="", properties__a=PROPERTY)
    (tmp_path / "properties.d/a.ini").chmod(0o664)
    (warning,) = client(tmp_path).warnings
    assert str(warning) == f"{tmp_path}/properties.d/a.ini: others than its owner may write it (mode 0664; chmod go-w)"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    put(tmp_path, vmmanager="", triggers__a=TRIGGER, triggers__b="[b]\n")
    (tmp_path / "triggers.d/a.ini").chmod(0)
    assert refusal(tmp_path).split("\n") == [
        "triggers.d/a.ini: cannot be read: Permission denied",
        "triggers.d/b.ini:1: [b] expr: is missing (write expr = { ... }, the condition)",
    ]


def test_what_is_no_file_makes_nobody_wait(tmp_path: Path) -> None:
    put(tmp_path, vmmanager="", triggers__a=TRIGGER)
    os.mkfifo(tmp_path / "triggers.d/b.ini", 0o600)
    (tmp_path / "triggers.d/c.ini").mkdir()
    (tmp_path / "triggers.d/d.ini").symlink_to(tmp_path / "nowhere")
    assert refusal(tmp_path).split("\n") == [
        "triggers.d/b.ini: cannot be read: it is no regular file",
        "triggers.d/c.ini: cannot be read: it is no regular file",
        "triggers.d/d.ini: cannot be read: No such file or directory",
    ]


def test_bytes_that_are_no_text_have_their_line(tmp_path: Path) -> None:
    put(tmp_path, vmmanager=b"[manager]\n\nname = caf\xe9\n", triggers__a=b"\xff")
    assert refusal(tmp_path).split("\n") == [
        "triggers.d/a.ini:1: is not UTF-8: byte 0xff",
        "vmmanager.ini:3: is not UTF-8: byte 0xe9",
    ]


def test_control_characters_and_endless_lines(tmp_path: Path) -> None:
    put(tmp_path, vmclient=f"[client]\nname = a\0b\n# {'x' * 20_000}\ngroups = {'x' * 20_000}\n")
    assert refusal(tmp_path, client).split("\n") == [
        "vmclient.ini:2: [client]: control character U+0000 in the line",
        "vmclient.ini:4: [client]: the line has 20009 characters, the limit is 10000",
    ]


def test_a_file_has_a_limit(tmp_path: Path) -> None:
    put(tmp_path, vmclient="#" * (FILE_BYTES_MAX + 1))
    assert refusal(tmp_path, client) == f"vmclient.ini: is larger than {FILE_BYTES_MAX} bytes"


def test_line_ends_of_other_systems_and_a_byte_order_mark(tmp_path: Path) -> None:
    put(tmp_path, vmclient="\ufeff[client]\r\ngroups = a, b\r\nparallel = x\r\n")
    assert refusal(tmp_path, client) == "vmclient.ini:3: [client] parallel: 'x' is not a whole number (1 to 64)"


def test_the_files_of_a_folder_in_the_order_of_their_names(tmp_path: Path) -> None:
    put(tmp_path, vmclient="", properties__20="[b]\ncommand = load\n", properties__10="[z]\ncommand = load\n")
    (tmp_path / "properties.d/30.ini.bak").write_text("[broken")
    (tmp_path / "properties.d/.hidden.ini").write_text("[broken")
    assert [one.name for one in client(tmp_path).properties] == ["z", "b"]


def test_another_folder(tmp_path: Path) -> None:
    put(tmp_path, vmmanager="[paths]\ntriggers = rules.d\n", rules__a=TRIGGER, triggers__b="[broken")
    assert [one.name for one in manager(tmp_path).triggers] == ["a"]


def test_relative_paths_count_from_the_file(tmp_path: Path) -> None:
    put(tmp_path, vmclient="[paths]\nstate = state\nrun = /run/x\n[log]\ntarget = file\nfile = client.log\n")
    config = client(tmp_path)
    assert config.paths.state == tmp_path / "state"
    assert config.paths.run == Path("/run/x")
    assert config.log.file == tmp_path / "client.log"


def test_the_host_is_asked_for_its_name_only_where_the_file_has_none(tmp_path: Path) -> None:
    put(tmp_path, vmclient="[client]\nname = web1.example\n", vmmanager="")

    def never() -> str:
        raise AssertionError("asked")

    assert load_client(tmp_path / "vmclient.ini", host_name=never).name == "web1.example"
    assert load_manager(tmp_path / "vmmanager.ini", host_name=lambda: "m1.example").name == "m1.example"


def test_what_only_the_plugins_know_comes_with_the_other_faults(tmp_path: Path) -> None:
    put(tmp_path, vmclient="[client]\nparallel = x\n", properties__a="[a]\nticks = 5\ncommand = rram\n")

    def readers(config: ClientConfig) -> Iterable[Fault]:
        return [Fault(one.where, f"no reader {one.command}") for one in config.properties if one.command != "ram"]

    with pytest.raises(ConfigurationError) as raised:
        load_client(tmp_path / "vmclient.ini", host_name=lambda: "host", also=readers)
    assert str(raised.value).replace(f"{tmp_path}/", "").split("\n") == [
        "properties.d/a.ini:3: [a] command: no reader rram",
        "vmclient.ini:2: [client] parallel: 'x' is not a whole number (1 to 64)",
    ]


def test_a_place_with_a_fault_is_named_once(tmp_path: Path) -> None:
    put(tmp_path, vmmanager="", triggers__a="[a]\nexpr = { 1 + }\n")
    with pytest.raises(ConfigurationError) as raised:
        load_manager(
            tmp_path / "vmmanager.ini",
            host_name=lambda: "host",
            also=lambda config: [Fault(one.expr.where, "I do not understand it either") for one in config.triggers],
        )
    (fault,) = raised.value.faults
    assert "Python does not understand this" in fault.text


def test_check_config_says_what_there_is(tmp_path: Path) -> None:
    put(tmp_path, vmclient="", vmmanager="", properties__a=PROPERTY + "parametes = 1\n", triggers__a=TRIGGER)
    text, code = check_client(tmp_path / "vmclient.ini", host_name=lambda: "host")
    assert code == 0
    assert text.replace(f"{tmp_path}/", "").split("\n") == [
        "properties.d/a.ini:3: [a] parametes: parametes is taken for parameters, as the prototype spelt it "
        "(write parameters) (warning)",
        "vmclient.ini: good: 1 property, 0 programs",
    ]
    assert check_manager(tmp_path / "vmmanager.ini", host_name=lambda: "host") == (
        f"{tmp_path}/vmmanager.ini: good: 1 trigger, 0 VMs",
        0,
    )


def test_check_config_says_every_fault_and_their_number(tmp_path: Path) -> None:
    put(tmp_path, vmmanager="[manager]\nx = 1\n", triggers__a="[a]\n[b]\nexpr = { True }\n")
    text, code = check_manager(tmp_path / "vmmanager.ini", host_name=lambda: "host")
    assert code == 2
    assert text.split("\n")[-1] == "2 faults in 2 files"


def test_triggers_of_files_and_folders_together(tmp_path: Path) -> None:
    put(tmp_path, triggers__a=TRIGGER, b="[b]\nexpr = { True }\ndepends_on = a\n")
    assert [one.name for one in load_triggers(tmp_path / "triggers.d", tmp_path / "b.ini")] == ["a", "b"]
    with pytest.raises(ConfigurationError, match="'a': no such trigger"):
        load_triggers(tmp_path / "b.ini")
    assert (
        refusal(tmp_path, lambda folder: load_triggers(folder / "c.ini")) == "c.ini: cannot be read: No such file or directory"
    )


def test_recovery_makes_it_fire_once_unless_said_otherwise() -> None:
    (one,) = parse_triggers("[a]\nexpr = { True }\nrecovery = { False }\n")
    assert one.fire == "once"
    (one,) = parse_triggers("[a]\nexpr = { True }\nrecovery = { False }\nfire = each\n")
    assert one.fire == "each"
    (one,) = parse_triggers("[a]\nexpr = { True }\n")
    assert one.fire == "each"


def test_a_rate_brings_its_window_and_zero_is_no_limit() -> None:
    (one,) = parse_triggers("[a]\nexpr = { True }\nmax_actions = 5 per 1h\nflap = 0\nmax_share = 10%\n")
    assert (one.max_actions, one.max_actions_window_s, one.max_share) == (5, 3600.0, 0.1)
    assert (one.flap_limit, one.flap_window_s) == (0, 600.0)
