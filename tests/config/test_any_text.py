"""Whatever a file holds: a configuration or ConfigurationError, never another exception; and each fault has its line."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.config import build, keys
from common.config.build import Findings
from common.config.keys import Key, Table
from common.config.load import load_client, load_manager
from common.config.model import ConfigurationError, PropertyConfig, TriggerConfig, Where
from common.config.reference import default_value
from common.config.shown import show
from common.config.tree import Shape, read_tree

SHAPES = [build.CLIENT_SHAPE, build.MANAGER_SHAPE, build.PROPERTY_SHAPE, build.TRIGGER_SHAPE, build.VMS_SHAPE]
TABLES = [
    keys.CLIENT,
    keys.BUS,
    keys.LOG,
    keys.CLIENT_PATHS,
    keys.HYPERVISOR,
    keys.BATCH,
    keys.PROGRAM,
    keys.PROPERTY,
    keys.MANAGER,
    keys.TRIGGER,
    keys.VM,
]
NAMES = [key.name for table in TABLES for key in table.keys] + [part.name for table in TABLES for part in table.parts]
VALUES = [
    *"{}[]()#\"',=;%$ \t1-",
    "30",
    "5m",
    "-1",
    "yes",
    "a",
    "a, b",
    "{ True }",
    "{ 1 +",
    "“",
    "'''",
    "5 per 10m",
    "10%",
    "64K",
    "/bin/x",
]


def _files() -> st.SearchStrategy[str]:
    """Text that is nearly a file: sections, keys and values of ours in any order, among noise."""
    name = st.sampled_from(
        [*NAMES, "client", "manager", "bus", "log", "paths", "programs", "*parameters", "parametes", "x", "a b"]
    )
    value = st.lists(st.sampled_from(VALUES), max_size=5).map("".join)
    line = st.one_of(
        st.tuples(name, value).map(lambda pair: f"{pair[0]} = {pair[1]}"),
        st.tuples(st.integers(1, 4), name).map(lambda pair: "[" * pair[0] + pair[1] + "]" * pair[0]),
        value,
        st.text(max_size=10),
    )
    return st.lists(line, max_size=15).map("\n".join)


def _read_all(text: str, shape: Shape) -> Findings:
    found = Findings()
    tree = read_tree(text, "f.ini", shape)
    if shape is build.CLIENT_SHAPE:
        found.faults += tree.faults
        build.client(tree, "host", (), found)
    elif shape is build.MANAGER_SHAPE:
        found.faults += tree.faults
        build.manager(tree, "host", (), (), (), found)
    elif shape is build.PROPERTY_SHAPE:
        build.properties([tree], found)
    elif shape is build.VMS_SHAPE:
        build.virtual_machines([tree], found)
    else:
        build.triggers([tree], found)
    return found


@pytest.mark.parametrize("shape", SHAPES, ids=["client", "manager", "properties", "triggers", "vms"])
@given(text=_files())
@example(text="\ufeff[client]\r\nname = a\r[x]")
@example(text="[[*parameters]]\n[[0]]")
@example(text="[a]\n[[parameters]]\n[[parametes]]\n[[*parameters]]\n")
def test_a_text_is_read_or_its_faults_have_lines(shape: Shape, text: str) -> None:
    lines = text.count("\n") + text.count("\r") + 1
    for fault in _read_all(text, shape).faults:
        assert 1 <= fault.where.line <= lines, fault
        assert "\n" not in str(fault)


@given(data=st.binary(max_size=60) | _files().map(str.encode))
def test_any_bytes_in_a_file(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, load in (("vmclient.ini", load_client), ("vmmanager.ini", load_manager)):
            (folder / file).write_bytes(data)
            try:
                config: Any = load(folder / file, host_name=lambda: "host")
            except ConfigurationError as fault:
                assert fault.faults  # noqa: PT017  both ends are right, no other exception is
            else:
                assert config.name


def test_a_list_with_one_quote_missing_takes_no_time() -> None:
    """ConfigObj alone needs time that doubles with each item: minutes at twenty."""
    items = ", ".join(['"a"'] * 500)
    found = _read_all(f'[client]\nservices = {items}, "b\n', build.CLIENT_SHAPE)
    assert [str(fault) for fault in found.faults] == ["f.ini:2: [client] services: the quote is never closed: '\"b'"]


# --- what is written is what is read ------------------------------------------------------------------------------------------

_seconds = st.integers(1, 36_000).map(lambda tenths: tenths / 10)
_word = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=8).filter(
    lambda text: text == text.strip() and not ('"' in text and "'" in text) and text[0] not in "“”„‟«»‘’‚‛"
)
_name = st.from_regex(r"[a-z][a-z0-9_.-]{0,10}", fullmatch=True)

_properties = st.builds(
    PropertyConfig,
    name=_name,
    command=_name,
    where=st.just(Where("", 0)),
    positional=st.lists(_word, max_size=3).map(tuple),
    return_type=st.sampled_from(["int", "float", "str", "bool", "list", "dict"]),
    ticks=_seconds | st.just(-1.0),
    push=st.sampled_from(["on_change", "always", "no"]),
    timeout_s=_seconds,
    unit=_word,
    keep=st.integers(1, 1000),
    type_bytes_max=st.integers(1, 1 << 23),
)

_triggers = st.builds(
    TriggerConfig,
    name=_name,
    expr=st.none(),
    cmd=st.none(),
    where=st.just(Where("", 0)),
    ticks=_seconds | st.just(-1.0),
    on_update_check=st.booleans(),
    each=_name | st.just("clients"),
    for_s=_seconds,
    fire=st.sampled_from(["each", "once"]),
    cooldown_s=_seconds,
    unknown=st.sampled_from(["hold", "false", "true"]),
    max_actions=st.integers(1, 1000),
    max_actions_window_s=_seconds.filter(lambda seconds: seconds >= 1),
    max_share=st.integers(1, 100).map(lambda percent: percent / 100),
    dry_run=st.booleans(),
    grace_s=_seconds,
    flap_limit=st.integers(1, 1000),
    flap_window_s=_seconds.filter(lambda seconds: seconds >= 1),
    budget_s=st.integers(1, 600).map(lambda tenths: tenths / 10),
    keep=st.integers(1, 1000),
    severity=st.sampled_from(["info", "warning", "critical"]),
    enabled=st.booleans(),
)


def _written(table: Table, config: Any) -> str:
    lines = [f"[{config.name}]"]
    for key in table.keys:
        if key.check == "code()":
            lines += [f"{key.name} = {{ True }}"] if key.required else []
        elif not _is_default(table, key, config):
            lines.append(f"{key.name} = {_protected(show(key, *(getattr(config, target) for target in key.targets)), key)}")
    return "\n".join(lines)


def _is_default(table: Table, key: Key, config: Any) -> bool:
    return not key.required and all(getattr(config, target) == default_value(table.model, target) for target in key.targets)


def _protected(text: str, key: Key) -> str:
    if key.check.startswith("text"):
        return f"'{text}'" if '"' in text else f'"{text}"'
    return text


@given(_properties)
def test_a_property_is_read_as_it_is_written(config: PropertyConfig) -> None:
    found = Findings()
    (read,) = build.properties([read_tree(_written(keys.PROPERTY, config), "f", build.PROPERTY_SHAPE)], found)
    assert not found.faults
    assert _same(keys.PROPERTY, config, read)


@given(_triggers)
def test_a_trigger_is_read_as_it_is_written(config: TriggerConfig) -> None:
    found = Findings()
    (read,) = build.triggers([read_tree(_written(keys.TRIGGER, config), "f", build.TRIGGER_SHAPE)], found)
    assert not found.faults
    assert _same(keys.TRIGGER, config, read)


def _same(table: Table, one: Any, other: Any) -> bool:
    names = [target for key in table.keys if key.check != "code()" for target in key.targets]
    return [getattr(one, name) for name in names] == [getattr(other, name) for name in names]
