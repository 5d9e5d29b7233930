"""What the lab's operator puts on a machine's state device, so that domains can be moved live: keys of ssh."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from nacl.signing import SigningKey

from bootlab.machines import MACHINES
from provision.machine import HOST_KEY, Trusted, ssh_files
from provision.programs import output
from provision.sshkeys import private_file
from xenlab import network

DEVICE_BYTES = 16 * 1024 * 1024
MAKE_S = 60.0


def hosts() -> list[Trusted]:
    """All machines, with new keys."""
    return [
        Trusted(name, network.address(one.number), SigningKey.generate(), SigningKey.generate())
        for name, one in MACHINES.items()
    ]


def device(path: Path, label: str, own: Trusted, everybody: Sequence[Trusted]) -> None:
    """With `ssh` and `dropbear` in it (provision/files/dom0-init). Raises NotToBeHad."""
    with path.open("wb") as file:
        file.truncate(DEVICE_BYTES)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        files = {f"ssh/{name}": content for name, content in ssh_files(own, everybody).items()}
        files[f"dropbear/{HOST_KEY}"] = private_file(own.host_key)
        for place, content in files.items():
            (Path(folder) / place).parent.mkdir(mode=0o700, exist_ok=True)
            (Path(folder) / place).write_bytes(content)
            (Path(folder) / place).chmod(0o600)
        output(["mkfs.ext4", "-q", "-L", label, "-d", folder, str(path)], limit_s=MAKE_S)
