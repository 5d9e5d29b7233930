"""Which VMs belong on one host and which must not share one, read both ways from all definitions. Knows no host.

`anti_affinity` holds both ways: who names a VM or its group is as far from it as it is from those that it names.
`affinity` with a VM ties the two, and whoever else is tied to either of them. `affinity` with a group is one-sided: the VM
wants one of the group beside it, and the group may spread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from common.config.model import VmConfig


class Relations:
    """Made once from all definitions; every question after that is cheap."""

    def __init__(self, definitions: Mapping[str, VmConfig]) -> None:
        self.definitions = dict(definitions)
        self._vcpus = {vm.name: vm.vcpus for vm in self.definitions.values()}
        self._members: dict[str, set[str]] = {}
        self._kept_off_by: dict[str, set[str]] = {}  # VM or group -> those that name it in anti_affinity
        self._sought_by: dict[str, set[str]] = {}  # VM or group -> those that name it in affinity
        for vm in self.definitions.values():
            if vm.group:
                self._members.setdefault(vm.group, set()).add(vm.name)
            for name in vm.anti_affinity:
                self._kept_off_by.setdefault(name, set()).add(vm.name)
            for name in vm.affinity:
                self._sought_by.setdefault(name, set()).add(vm.name)

    @classmethod
    def of(cls, definitions: Mapping[str, VmConfig] | Relations) -> Relations:
        return definitions if isinstance(definitions, Relations) else cls(definitions)

    def apart(self, vm: VmConfig) -> frozenset[str]:
        """The VMs that must not be where it is."""
        named: set[str] = set().union(*(self._stands_for(name) for name in vm.anti_affinity))
        return frozenset(named | self._by_name_or_group(self._kept_off_by, vm)) - {vm.name}

    def tied(self, vm: VmConfig) -> frozenset[str]:
        """The VMs that must be where it is: tied to it by name, or to one that is."""
        found, new = {vm.name}, self._next_to(vm)
        while new:
            found |= new
            new = set().union(*(self._next_to(self.definitions[name]) for name in new if name in self.definitions)) - found
        return frozenset(found) - {vm.name}

    def groups_sought(self, vm: VmConfig) -> dict[str, frozenset[str]]:
        """Group -> its members, of which it wants one beside it."""
        return {name: frozenset(self._members[name]) - {vm.name} for name in vm.affinity if name in self._members}

    def met_by(self, vm: VmConfig, there: frozenset[str]) -> int:
        """How many of those there want one of its group beside them and have none yet."""
        seekers = self._sought_by.get(vm.group) if vm.group else None
        waiting = there & seekers - {vm.name} if seekers else ()
        return sum(1 for name in waiting if not there & self._members[vm.group] - {name, vm.name})

    def vcpus(self, names: Iterable[str]) -> int:
        """Of all of these together; of one without a definition nothing is known."""
        known = self._vcpus
        return sum([known[name] for name in names if name in known])

    def bound(self, vm: VmConfig) -> bool:
        """Whether any affinity, its own or another's, has to do with it."""
        return bool(vm.affinity or self._by_name_or_group(self._sought_by, vm))

    def together(self, vms: Iterable[VmConfig]) -> list[list[VmConfig]]:
        """Cut into units, each tied into one; all in the order given."""
        waiting = {vm.name: vm for vm in vms}
        units: list[list[VmConfig]] = []
        for vm in list(waiting.values()):
            if vm.name in waiting:
                tied = self.tied(vm) | {vm.name}
                units.append([waiting.pop(name) for name in list(waiting) if name in tied] if len(tied) > 1 else [vm])
                waiting.pop(vm.name, None)
        return units

    def _stands_for(self, name: str) -> set[str]:
        return {name} if name in self.definitions else self._members.get(name, {name})

    def _next_to(self, vm: VmConfig) -> set[str]:
        return {name for name in vm.affinity if name not in self._members} | self._sought_by.get(vm.name, set())

    @staticmethod
    def _by_name_or_group(index: dict[str, set[str]], vm: VmConfig) -> set[str]:
        return index.get(vm.name, set()) | (index.get(vm.group, set()) if vm.group else set())
