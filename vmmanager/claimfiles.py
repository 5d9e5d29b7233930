"""The storage of fail-over as the manager reaches it: reads beats and claims, writes claims. Decides nothing.

A thread of its own, which hangs as long as the storage does and holds up nobody; then no answer comes, and that is no evidence.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path

from common.blockfile import read_block, write_block
from common.storagebeat import BEATS, CLAIMS, FOLDER, Beat, BlockFault, Claim, beat_path, claim_path
from vmmanager.events import ClaimWritten, LookAtStorage, StorageSeen, WriteClaim

JOBS_MAX = 20_000


class ClaimFiles:
    """`now` is the monotonic clock."""

    def __init__(self, tell: Callable[[StorageSeen | ClaimWritten], None], now: Callable[[], float]) -> None:
        self._tell = tell
        self._now = now
        self._jobs: queue.Queue[LookAtStorage | WriteClaim] = queue.Queue(JOBS_MAX)
        self._thread: threading.Thread | None = None

    def do(self, job: LookAtStorage | WriteClaim) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="Storage", daemon=True)
            self._thread.start()
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            if isinstance(job, WriteClaim):
                self._tell(ClaimWritten(job.host, job.number, "too much waits for the storage already"))

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            self._tell(self._look(job.folder) if isinstance(job, LookAtStorage) else _write(job))

    def _look(self, folder: Path) -> StorageSeen:
        began = self._now()
        beats: dict[str, str] = {}
        claims: dict[str, int] = {}
        try:
            for name in _names(folder / FOLDER / BEATS):
                if (beat := _beat(folder, name)) is not None:
                    beats[name] = beat.mark
            for name in _names(folder / FOLDER / CLAIMS):
                if (claim := _claim(folder, name)) is not None:
                    claims[name] = claim.number
        except OSError as fault:
            return StorageSeen(began, {}, {}, f"{fault.filename or folder}: {fault.strerror}")
        return StorageSeen(began, beats, claims)


def _names(folder: Path) -> list[str]:
    """None where nobody has written yet; the storage itself must be there."""
    if not folder.exists() and folder.parent.parent.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def _beat(folder: Path, name: str) -> Beat | None:
    """None where the block is not whole just now."""
    try:
        beat = Beat.decode(read_block(Path(beat_path(folder, name))))
    except BlockFault:
        return None
    return beat if beat.host == name else None


def _claim(folder: Path, name: str) -> Claim | None:
    try:
        claim = Claim.decode(read_block(Path(claim_path(folder, name))))
    except BlockFault:
        return None
    return claim if claim.host == name else None


def _write(job: WriteClaim) -> ClaimWritten:
    """safety: it lies there only when it was read back."""
    claim = Claim(job.host, job.number, job.epoch, job.leader)
    path = Path(claim_path(job.folder, job.host))
    try:
        if not job.folder.is_dir():
            return ClaimWritten(job.host, job.number, f"{job.folder} is not there: is it mounted?")
        for folder in (path.parent, Path(beat_path(job.folder, job.host)).parent):
            folder.mkdir(parents=True, exist_ok=True)
        write_block(path, claim.encode())
        back = Claim.decode(read_block(path))
    except (OSError, BlockFault) as fault:
        return ClaimWritten(job.host, job.number, str(fault))
    return ClaimWritten(job.host, job.number, "" if back == claim else "it reads back as another")
