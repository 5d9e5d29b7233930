"""A share for a lab's machines, NFS by ganesha, and file systems in files. Knows no lab."""

from __future__ import annotations

from pathlib import Path

from provision.programs import output
from xenlab.processes import Processes

PROGRAMS = {"ganesha.nfsd": "nfs-ganesha, nfs-ganesha-vfs", "mkfs.ext4": "e2fsprogs"}
NAME = "nfs"
MAKE_S = 60.0
PLACES = """\
NFS_CORE_PARAM {{ Plugins_Dir = "/usr/lib/x86_64-linux-gnu/ganesha"; }}
NFSv4 {{ RecoveryBackend = "fs"; RecoveryRoot = "{recovery}"; Graceless = true; }}
"""
# it looks once a minute by default for what others on the server have changed
EXPORT = """\
EXPORT {{
  Export_Id = {number}; Path = {folder}; Pseudo = {pseudo}; Protocols = 4; Transports = TCP; SecType = sys;
  Squash = No_Root_Squash; Access_Type = RW; Attr_Expiration_Time = 5; FSAL {{ Name = VFS; }}
}}
"""


def export(folder: Path, pseudo: str, number: int) -> str:
    """Everybody may write there, as root. ganesha follows no symbolic link in a path."""
    return EXPORT.format(folder=folder.resolve(), pseudo=pseudo, number=number)


def serve(processes: Processes, folder: Path, config: str) -> None:
    """Starts the server by `config`, the text of a ganesha.conf. `folder`: the lab's. Raises Failed."""
    recovery, path = folder / "recovery", folder / "ganesha.conf"
    recovery.mkdir(exist_ok=True)
    path.write_text(PLACES.format(recovery=recovery) + config)
    words = ["-F", "-f", str(path), "-L", str(folder / "log" / "ganesha"), "-p", str(folder / "ganesha.pid"), "-N", "EVENT"]
    processes.start(NAME, ["ganesha.nfsd", *words], folder)


def disk(path: Path, size: int, *more: str) -> None:
    """A new file system of `size` bytes. Raises NotToBeHad."""
    with path.open("wb") as file:
        file.truncate(size)
    output(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", *more, str(path)], limit_s=MAKE_S)
