"""What we ship: each key is in the file with its default and a comment, the files load, the pages and the table agree."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from common.config import environment_keys, keys
from common.config.failover_keys import FAILOVER, GUARD
from common.config.keys import Table
from common.config.load import load_client, load_manager, load_triggers, parse_triggers
from common.config.model import ClientConfig, ManagerConfig
from common.config.reference import TABLES, default_value, filled
from common.config.shown import show
from common.parameters import Signature
from common.plugin import ATTRIBUTE, Plugin, Site
from vmmanager.triggers.rule import faults

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
BESIDES = {  # fields that no key of the section makes
    "EnvironmentConfig": {"name", "where"},
    "EnvironmentsConfig": {"defined", "where"},
    "ClientConfig": {"bus", "log", "paths", "hypervisor", "batch", "failover", "properties", "programs", "warnings"},
    "ManagerConfig": {"bus", "log", "paths", "triggers", "vms", "orders", "failover", "fences", "environments", "warnings"},
    "FenceConfig": {"name", "where"},
    "PropertyConfig": {"name", "where"},
    "ProgramConfig": {"name", "where"},
    "TriggerConfig": {"name", "where"},
    "VmConfig": {"name", "where", "environment"},
}


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A copy as an installation makes it: written by its owner only."""
    folder = tmp_path / "conf"
    shutil.copytree(CONF, folder)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def uncommented(path: Path) -> None:
    path.write_text(re.sub(r"(?m)^#(\w+ =)", r"\1", path.read_text()))


@pytest.mark.parametrize("comments", ["as shipped", "with every # taken away"])
def test_the_shipped_files_say_the_defaults(shipped: Path, comments: str) -> None:
    for name, folder in (("vmclient.ini", "properties.d"), ("vmmanager.ini", "triggers.d")):
        shutil.rmtree(shipped / folder)
        (shipped / folder).mkdir()
        if comments != "as shipped":
            uncommented(shipped / name)
    client = load_client(shipped / "vmclient.ini", host_name=lambda: "host")
    manager = load_manager(shipped / "vmmanager.ini", host_name=lambda: "host")
    assert client == ClientConfig("host")
    assert manager == ManagerConfig("host")
    assert client.warnings == manager.warnings == ()


@pytest.mark.parametrize(
    ("file", "tables"),
    [
        ("vmclient.ini", [keys.CLIENT, keys.BUS, keys.LOG, keys.CLIENT_PATHS, keys.HYPERVISOR, keys.BATCH, keys.PROGRAM]),
        ("vmmanager.ini", [keys.MANAGER, keys.BUS, keys.LOG, keys.MANAGER_PATHS]),
        ("vmclient.ini", [keys.CLIENT, keys.BUS, keys.LOG, keys.CLIENT_PATHS, keys.HYPERVISOR, GUARD, keys.PROGRAM]),
        ("vmmanager.ini", [keys.MANAGER, FAILOVER, keys.BUS, keys.LOG, keys.MANAGER_PATHS]),
        ("properties.d/system.ini", [keys.PROPERTY]),
        ("triggers.d/farm.ini", [keys.TRIGGER]),
        ("examples/environments/environments.ini", [environment_keys.ENVIRONMENTS, environment_keys.ENVIRONMENT]),
    ],
)
def test_every_key_stands_in_its_shipped_file(file: str, tables: list[Table]) -> None:
    text = (CONF / file).read_text()
    for table in tables:
        for key in table.keys:
            assert re.search(rf"(?m)^#?\s*{key.name} =", text), f"{file} does not show {key.name}"
        for part in table.parts:
            assert f"[[{part.name}]]" in text, f"{file} does not show [[{part.name}]]"


@pytest.mark.parametrize(("file", "table"), [("properties.d/system.ini", keys.PROPERTY), ("triggers.d/farm.ini", keys.TRIGGER)])
def test_the_list_of_keys_at_the_top_has_the_defaults(file: str, table: Table) -> None:
    listed = dict(re.findall(r"(?m)^#(\w+) = *(\S*(?: per \S+)?)  ", (CONF / file).read_text()))
    for key in table.keys:
        if not key.required and key.check != "code()":
            assert listed[key.name] == show(key, *(default_value(table.model, target) for target in key.targets)), key.name


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_field_of_the_model_has_a_key(table: Table) -> None:
    names = {target for key in table.keys for target in key.targets} | {part.field for part in table.parts}
    assert names - {"-"} | BESIDES.get(table.model.__name__, set()) == {field.name for field in fields(table.model)}


def test_the_example_of_environments_loads(shipped: Path) -> None:
    for name in ("environments.ini", "vms.ini"):
        shutil.copy(shipped / "examples/environments" / name, shipped / name)
    config = load_manager(shipped / "vmmanager.ini", host_name=lambda: "host").environments
    assert [(one.name, one.min) for one in config.defined] == [("sl4", 2), ("sl5", 2)]
    assert config.quotas == {"physics": 20}


def test_the_shipped_properties_and_triggers_load(shipped: Path) -> None:
    client = load_client(shipped / "vmclient.ini", host_name=lambda: "host")
    manager = load_manager(shipped / "vmmanager.ini", host_name=lambda: "host")
    assert {"ram_free", "cpu", "load1", "disk_root", "uptime"} <= {one.name for one in client.properties}
    assert {"client_query", "client_silent", "disk_root_full", "ram_low"} <= {one.name for one in manager.triggers}
    assert client.warnings == manager.warnings == ()


def test_the_readers_take_the_shipped_properties(shipped: Path) -> None:
    readers = {plugin.name: function for function, plugin in _readers(import_module("plugins.system"))}
    for one in load_client(shipped / "vmclient.ini", host_name=lambda: "host").properties:
        Signature.of(readers[one.command]).bind(one.positional, {**one.named}, Site("host"))


def _readers(module: ModuleType) -> list[tuple[Callable[..., Any], Plugin]]:
    return [(member, getattr(member, ATTRIBUTE)) for member in vars(module).values() if hasattr(member, ATTRIBUTE)]


def test_the_shipped_triggers_pass_the_engines_own_checks(shipped: Path) -> None:
    for folder in ("triggers.d", "examples/prototype/triggers.d"):
        assert faults(load_triggers(shipped / folder)) == []


def test_the_shipped_triggers_run_nothing_on_a_client() -> None:
    assert "send_execute" not in (CONF / "triggers.d/farm.ini").read_text()


def test_the_prototypes_examples_load_as_printed(shipped: Path) -> None:
    prototype = shipped / "examples/prototype"
    query, alive = load_triggers(prototype / "triggers.d")
    assert query.expr.text == "len(manager.clients) != 0"
    assert (query.ticks, query.on_update_check) == (30.0, False)
    assert alive.expr.text == 'len(manager.groups["mailers"].values()) != 0'
    assert (alive.ticks, alive.on_update_check) == (-1.0, True)
    (shipped / "here.ini").write_text(f"[paths]\nproperties = {prototype}/properties.d\n")
    config = load_client(shipped / "here.ini", host_name=lambda: "host")
    (ram,) = config.properties
    assert (ram.name, ram.command, ram.positional, ram.return_type, ram.ticks) == ("ram_free", "ram", ("MemFree",), "int", 60.0)
    (warning,) = config.warnings
    assert "write parameters" in warning.text


# --- the page -----------------------------------------------------------------------------------------------------------------


def test_the_tables_of_the_page_are_those_of_the_code() -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    assert filled(page) == page, "run: python -m common.config.reference docs/configuration.md"
    assert set(re.findall(r"<!-- keys: ([\w-]+) -->", page)) == set(TABLES)


def _examples(heading: str) -> str:
    """The indented lines of a chapter."""
    page = (ROOT / "docs/configuration.md").read_text()
    chapter = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return "\n".join(line[4:] for line in chapter.split("\n") if line.startswith("    ") or not line)


def test_the_examples_of_the_page_load(tmp_path: Path) -> None:
    (tmp_path / "properties.d").mkdir()
    (tmp_path / "properties.d/p.ini").write_text(_examples("properties.d/*.ini"))
    (tmp_path / "vmclient.ini").write_text(_examples("vmclient.ini") + _examples("[log]"))
    config = load_client(tmp_path / "vmclient.ini", host_name=lambda: "host")
    engines = ["domains", "hypervisor", "images_used", "batch_jobs", "batch_nodes"]
    assert [one.name for one in config.properties] == ["ram_free", "disk_home", *engines]
    assert config.properties[1].named == {"path": "/home", "field": "percent"}
    (program,) = config.programs
    assert program.patterns == {"warn": r"\d{1,2}%"}
    assert config.log.levels == {"bus": "DEBUG"}
    assert [one.name for one in parse_triggers(_examples("triggers.d/*.ini"))] == ["client_silent"]
