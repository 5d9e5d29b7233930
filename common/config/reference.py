"""The tables of docs/configuration.md, made from keys.py and model.py so that they cannot drift.

python -m common.config.reference docs/configuration.md     writes the tables into the page, between its marks
"""

from __future__ import annotations

import re
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from common.config import environment_keys, keys
from common.config.failover_keys import FAILOVER, FENCE, GUARD
from common.config.keys import Key, Table
from common.config.shown import show
from common.config.values import show_duration, show_size

TABLES = {
    "client": keys.CLIENT,
    "program": keys.PROGRAM,
    "hypervisor": keys.HYPERVISOR,
    "batch": keys.BATCH,
    "property": keys.PROPERTY,
    "manager": keys.MANAGER,
    "trigger": keys.TRIGGER,
    "vm": keys.VM,
    "vms": keys.VMS,
    "environments": environment_keys.ENVIRONMENTS,
    "environment": environment_keys.ENVIRONMENT,
    "failover": FAILOVER,
    "client-failover": GUARD,
    "fence": FENCE,
    "bus": keys.BUS,
    "log": keys.LOG,
    "client-paths": keys.CLIENT_PATHS,
    "manager-paths": keys.MANAGER_PATHS,
}
_MARKS = re.compile(r"(<!-- keys: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_WORDS = {
    "account": "a name",
    "agent": "a name or an absolute path",
    "code": "`{ Python }`",
    "commands": "names",
    "daemon": "`PORT@HOST` or `PORT`",
    "disk": "a path, then `ro` or `rw`, `format=`",
    "flag": "`yes` or `no`",
    "group": "a name",
    "groups": "names",
    "host": "a name",
    "image": "`NAME` or `NAME@VERSION`",
    "hosts": "names",
    "level": "a level",
    "modules": "names",
    "name": "a name",
    "names": "names",
    "nic": "a bridge, then `mac=`, `vlan=`",
    "path": "a path",
    "pattern": "a regular expression",
    "services": "names",
    "share": "a share: `10%`",
    "text": "text",
    "watchdog": "`auto`, `none`, `sim` or a path",
    "word": "text",
    "words": "texts",
}


def filled(page: str) -> str:
    """The page with every table between its marks made anew."""
    return _MARKS.sub(lambda found: found[1] + table(TABLES[found[2]]) + found[3], page)


def table(one: Table) -> str:
    """Markdown: key, value, default, what it says."""
    lines = ["| key | value | default | |", "| --- | --- | --- | --- |"]
    for key in one.keys:
        lines.append(f"| `{key.name}` | {kind(key.check)} | {default(one, key)} | {key.what} |")
    depth = 3 if one is keys.PROGRAM else 2
    for part in one.parts:
        name = "[" * depth + part.name + "]" * depth
        lines.append(f"| `{name}` | each: {kind(part.check)} | none | {part.what} |")
    return "\n".join(lines) + "\n"


def default(one: Table, key: Key) -> str:
    """As the file would write it; `needed` where there is none."""
    if key.required:
        return "needed"
    if key.default:
        return key.default if " " in key.default or key.default in ("none", "nothing") else f"`{key.default}`"
    shown = show(key, *(default_value(one.model, target) for target in key.targets))
    return f"`{shown}`" if shown else "none"


def default_value(model: type[Any], name: str) -> Any:
    field = next(field for field in fields(model) if field.name == name)
    return field.default_factory() if field.default_factory is not MISSING else field.default


def kind(check: str) -> str:
    """What may stand there, in words."""
    name, _, rest = check.removesuffix(")").partition("(")
    arguments = [argument.strip().strip("'") for argument in rest.split(",")]
    if name == "choice":
        return " or ".join(f"`{option}`" for option in arguments)
    if name in ("duration", "ticks"):
        limits = " to ".join(show_duration(float(limit)) for limit in arguments)
        return f"a time, {limits}{', or `-1`' if name == 'ticks' else ''}"
    if name == "size":
        return f"a size, {' to '.join(show_size(int(limit)) for limit in arguments)}"
    if name == "rate":
        return "so many in a time: `5 per 10m`; or 0"
    if name in ("whole", "number"):
        return f"{'a number' if name == 'number' else 'a whole number'}, {' to '.join(arguments)}"
    return _WORDS[name]


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
