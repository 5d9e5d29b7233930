"""The operator of a lab: vmctl as he types it, and what it answers. Knows no lab."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from demo.files import program
from xenlab.processes import Failed

ASK_S = 60.0


def vmctl(socket: Path, words: tuple[str, ...]) -> subprocess.Popen[str]:
    """Output and errors together."""
    return subprocess.Popen(
        [*program("vmctl"), *words],
        env={**os.environ, "VMHERD_SOCKET": str(socket), "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ask(socket: Path, *words: str) -> Any:
    """What `vmctl WORDS --json` says. Raises Failed."""
    argv = [*program("vmctl"), *words, "--json"]
    environment = {**os.environ, "VMHERD_SOCKET": str(socket)}
    done = subprocess.run(argv, env=environment, capture_output=True, check=False, timeout=ASK_S)
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise Failed(f"vmctl {' '.join(words)} ended with {done.returncode}: {done.stderr.decode()}") from None
