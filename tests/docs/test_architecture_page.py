"""docs/architecture.md lists the modules and threads that there are."""

from __future__ import annotations

import re

from tests.docs.modules import PAGE, modules
from tests.docs.sentences import ROOT
from tests.test_architecture import PURE


def test_the_page_lists_each_module_and_which_are_pure() -> None:
    rows = re.findall(r"^\| (\S+\.py) \| (pure)? *\|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    hint = "python -m tests.docs.modules writes the list anew"
    assert [name for name, _ in rows] == [str(module) for module in modules()], hint
    assert {name for name, pure in rows if pure} == set(PURE), hint


def test_the_page_names_each_thread_of_the_daemons() -> None:
    text = PAGE.read_text(encoding="utf-8")
    wiring = (ROOT / "vmmanager/wiring.py").read_text(encoding="utf-8")
    started = set(re.findall(r'^ +"(\w+)": (?:lambda|self\._\w+\.run|self\._run_errands)', wiring, re.MULTILINE))
    for path in ("vmmanager/wiring.py", "vmmanager/__main__.py", "vmclient/client.py"):
        started |= set(re.findall(r'thread\("([\w-]+)"', (ROOT / path).read_text(encoding="utf-8")))
    assert {"Listener", "TriggerWatch", "Sender", "IFaceDaemon", "ReaderDaemon", "Runner"} < started
    assert not [name for name in sorted(started) if not re.search(rf"^ +(?:vm\w+ +)?{name}\b", text, re.MULTILINE)]
