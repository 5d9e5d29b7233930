"""The switch of each machine's power, and the fence agent that turns it: what a real agent does by IPMI, through a folder.

It is called as all of fence-agents are, options on stdin; it leaves HOST.cut, and waits for HOST.off, when it is done.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from xenlab.looker import Looker

LOOK_S = 0.05
AGENT = """\
#!{python}
import pathlib, sys, time
options = dict(line.strip().split("=", 1) for line in sys.stdin if "=" in line)
folder, action = pathlib.Path("{folder}"), options.get("action", "reboot")
cut, off = (folder / (options.get("plug", "") + end) for end in (".cut", ".off"))
if action == "off":
    if not off.exists():
        cut.touch()
    while not off.exists():
        time.sleep(0.05)
elif action in ("status", "monitor"):
    sys.exit(2 if off.exists() else 0)
else:
    sys.exit("the lab's fence agent cannot do " + action)
"""


class Power:
    """`cut(machine)` takes the power from it. One thread."""

    def __init__(self, folder: Path, cut: Callable[[str], None]) -> None:
        self._folder, self._cut = folder, cut
        self._looker = Looker("Power", self._look, LOOK_S)

    @property
    def agent(self) -> Path:
        return self._folder / "fence_halab"

    def start(self) -> None:
        self._folder.mkdir(mode=0o700)
        self.agent.write_text(AGENT.format(python=sys.executable, folder=self._folder))
        self.agent.chmod(0o700)
        self._looker.start()

    def on(self, machine: str) -> None:
        (self._folder / f"{machine}.off").unlink(missing_ok=True)

    def close(self) -> None:
        self._looker.close()

    def _look(self) -> None:
        for path in self._folder.glob("*.cut"):
            path.unlink()
            self._cut(path.stem)
            path.with_suffix(".off").touch()
