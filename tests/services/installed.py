"""A service as `make install` lays it out, below a folder of its own; at its program's place stands the tiny daemon."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 60.0
PROGRAM = """#!{python}
import runpy, sys
sys.path.insert(0, {root!r})
sys.argv[1:1] = ["--log-file", {log!r}, *{more!r}]
runpy.run_path({tiny!r}, run_name="__main__")
"""


class Installed:
    """One service of one init system (`sysv`, `openrc`)."""

    def __init__(self, root: Path, name: str, system: str) -> None:
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        variables = {"PREFIX": f"{root}/opt", "CONF": f"{root}/etc", "RUN": f"{root}/run", "CLIENT_RUN": f"{root}/run"}
        switches = {"DESTDIR": f"{root}/dest", "VENV": "no", "SERVICES": system, "INSTALL_USER": self.user}
        subprocess.run(
            [ROOT / "conf/install"], env={**os.environ, **variables, **switches}, capture_output=True, timeout=100, check=True
        )
        for folder in ("opt", "etc"):
            (root / folder).symlink_to(f"{root}/dest{root}/{folder}")
        self.name = name
        self.script = root / "dest/etc/init.d" / name
        self.settings = root / "etc" / f"{name}.default"
        self.pid_file = root / "run" / f"{name}.pid"
        self.log = root / "log"
        self.program = root / f"opt/venv/bin/{name}"
        self.program.parent.mkdir(parents=True)
        self.behave()

    def behave(self, *more: str) -> None:
        """What the daemon does from its next start on, in the words of tiny_daemon.py."""
        tiny = str(ROOT / "tests/services/tiny_daemon.py")
        self.program.write_text(
            PROGRAM.format(python=sys.executable, root=str(ROOT), log=str(self.log), more=[*more], tiny=tiny)
        )
        self.program.chmod(0o755)

    def pid(self) -> int:
        return int(self.pid_file.read_text())

    def logged(self, sentence: str) -> None:
        deadline = time.monotonic() + LIMIT_S
        while sentence not in self.log.read_text():
            assert time.monotonic() < deadline, f"waited in vain for {sentence!r}"
            time.sleep(0.02)
