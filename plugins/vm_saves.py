"""The memory of saved domains on this host: one file for a VM, and never one that the VM has run on from. Knows no hypervisor.

safety: a domain that is restored from memory older than its disks destroys their file systems. So a file is taken out of the
way before a restore begins and is gone when the domain runs, and a VM that runs has none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common import hypervisor as hv
from common.config.model import HypervisorConfig
from common.hypervisor import Hypervisor, HypervisorError


class Saves:
    """`config.saves` names the folder. Every method raises OSError where the disk does."""

    def __init__(self, config: HypervisorConfig) -> None:
        assert config.saves is not None  # vmclient/setups.py
        self.folder: Path = config.saves

    def path(self, vm: str) -> Path:
        return self.folder / f"{vm}.save"

    def prepare(self, vm: str) -> Path:
        """Where the domain may be saved to."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.path(vm)

    def forget(self, vm: str) -> None:
        """The VM has run here, so what was saved of it before must never be restored."""
        for path in (self.path(vm), self._begun(vm)):
            path.unlink(missing_ok=True)

    @contextmanager
    def taken(self, one: Hypervisor, vm: str) -> Iterator[Path]:
        """The file for one restore. Raises HypervisorError: there is none."""
        if not self.path(vm).exists():
            raise HypervisorError(one.host, vm, self._why_not(vm))
        with self.aside(one, vm):
            yield self._begun(vm)

    @contextmanager
    def aside(self, one: Hypervisor, vm: str) -> Iterator[bool]:
        """While the VM is brought to life, with its file or without: whether there is one. Gone afterwards, and back in its
        place when that failed and left no domain."""
        there = self.path(vm).exists()
        if there:
            os.rename(self.path(vm), self._begun(vm))  # safety: killed now, nothing restores it by itself
        try:
            yield there
        except HypervisorError as fault:
            if not there:
                raise
            raise fault.leaving("; ".join(part for part in (fault.left, self._put_back(one, vm)) if part)) from None
        self._begun(vm).unlink(missing_ok=True)

    def _begun(self, vm: str) -> Path:
        return self.folder / f"{vm}.restoring"

    def _why_not(self, vm: str) -> str:
        begun = self._begun(vm)
        if not begun.exists():
            return f"there is no saved memory of it here ({self.path(vm)})"
        return (
            f"a restore was broken off; if it has not run since, rename {begun} to {self.path(vm).name} to restore it, "
            "else remove it"
        )

    def _put_back(self, one: Hypervisor, vm: str) -> str:
        """safety: only when the hypervisor itself says that there is no such domain."""
        path, begun = self.path(vm), self._begun(vm)
        try:
            there = any(hv.plain_name(each.name) == vm for each in one.domains())
        except HypervisorError:
            return f"whether it runs is not known, so its memory was kept aside as {begun}"
        if there:
            return f"it is there, so its memory was kept aside as {begun}"
        os.rename(begun, path)
        return f"its memory is in {path} as before"
