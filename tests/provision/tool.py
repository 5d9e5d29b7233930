"""vmprovision as a user calls it, on one inventory, and what then lies in its target folder."""

from __future__ import annotations

import hashlib
import io
import os
import resource
import signal
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from tests.provision.given import farm
from vmprovision.__main__ import run

ROOT = Path(__file__).resolve().parents[2]
ASIDE = ".unfinished-"  # what is being written, and counts for nothing


class Tool:
    """`before`: what stands before the command, as nsenter does."""

    def __init__(self, folder: Path, before: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.ini = folder / "provision.ini" if (folder / "provision.ini").exists() else farm(folder)
        self.target = folder / "boot"
        self.before = before

    def start(self, *words: str, file_bytes_max: int = -1) -> subprocess.Popen[str]:
        def prepare() -> None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever runs the tests may have it ignored
            if file_bytes_max >= 0:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max))

        argv = [*self.before, sys.executable, "-m", "vmprovision", "--file", str(self.ini), *words]
        environment = {**os.environ, "PATH": f"{self.folder / 'programs'}:{os.environ['PATH']}"}
        return subprocess.Popen(
            argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, preexec_fn=prepare
        )

    def run(self, *words: str, code: int = 0, file_bytes_max: int = -1) -> str:
        """What it says; `file_bytes_max`: as if the disk were full beyond that. In this process, where it needs none of its
        own: to start Python takes longer than what it does then."""
        if not self.before and file_bytes_max < 0:
            said, got = self._run_here(words)
            assert got == code, said
            return said
        process = self.start(*words, file_bytes_max=file_bytes_max)
        try:
            said, _ = process.communicate(timeout=100)
        finally:
            process.kill()
        assert process.returncode == code, said
        return said

    def _run_here(self, words: tuple[str, ...]) -> tuple[str, object]:
        said = io.StringIO()
        path = f"{self.folder / 'programs'}:{os.environ['PATH']}"
        with chdir(ROOT), patch.dict(os.environ, PATH=path), redirect_stdout(said), redirect_stderr(said):
            try:
                code: object = run(["--file", str(self.ini), *words])
            except SystemExit as end:
                code = end.code
        return said.getvalue(), code

    def build(self, *profiles: str) -> str:
        """Without GRUB, for which packages would be fetched."""
        return self.run("build", "--no-grub", *profiles)

    def change(self, old: str, new: str) -> None:
        """In provision.ini."""
        text = self.ini.read_text()
        assert old in text
        self.ini.write_text(text.replace(old, new))

    def everything(self) -> dict[str, str]:
        """Checksum of every file in the target folder that counts."""
        paths = (path for path in sorted(self.target.rglob("*")) if path.is_file() and path.name != ".lock")
        files = {str(path.relative_to(self.target)): path for path in paths}
        return {
            name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items() if ASIDE not in name
        }  # fmt: skip

    def menu(self, mac: str) -> str:
        return (self.target / "boot" / "grub" / "hosts" / f"{mac}.cfg").read_text()
