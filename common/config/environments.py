"""environments.ini to checked definitions: what stands in one environment, and what all of them mean together.

Trees in, values and faults out. Which hosts there are is known to the running manager only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from string import Template

from common.config.environment_keys import ENVIRONMENT, ENVIRONMENTS
from common.config.model import EnvironmentConfig, EnvironmentsConfig, Fault, VmConfig, Where
from common.config.tree import Section, Shape, Tree, known_near
from common.config.values import quoted

SHAPE = Shape((ENVIRONMENTS,), many=ENVIRONMENT, code=True)
ENVIRONMENTS_MAX = 64
PLACES = ("vm", "host", "short", "environment", "slot")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,23}", re.ASCII)
_WILD = "*?["


def faults_of(one: EnvironmentConfig, section: Section) -> Iterator[Fault]:
    """Of one environment by itself."""
    if not _NAME.fullmatch(one.name):
        yield Fault(one.where, f"{quoted(one.name)} is no name of an environment (letters, digits, _, 24 at most)")
    if not one.template and "template" not in section.places:
        yield Fault(section.at("template"), "is missing (which VM of vms.ini are its VMs made after?)")
    if not (one.queue or one.feature or one.user_group) and not {"queue", "feature", "user_group"} & section.places.keys():
        yield Fault(one.where, "says nothing of how the batch system knows its jobs (queue, feature or user_group)")
    if one.max is not None and one.max < one.min:
        yield Fault(section.at("max"), f"is below min, {one.min}")
    if not Template(one.node).is_valid() or (wrong := set(Template(one.node).get_identifiers()) - {*PLACES}):
        text = f"{quoted(sorted(wrong)[0])}" if Template(one.node).is_valid() else quoted(one.node)
        yield Fault(section.at("node"), f"{text} is none of ${', $'.join(PLACES)}")
    elif not {"vm", "host", "short"} & {*Template(one.node).get_identifiers()}:
        yield Fault(section.at("node"), f"{quoted(one.node)} would be the name of every VM (put $vm or $short into it)")
    elif one.slots_per_host > 1 and not {"vm", "slot"} & {*Template(one.node).get_identifiers()}:
        yield Fault(section.at("node"), f"the VMs on one host would have one name, and slots_per_host is {one.slots_per_host}")


def faults_together(config: EnvironmentsConfig, head: Section, sections: Mapping[str, Section],
                    templates: Mapping[str, VmConfig]) -> Iterator[Fault]:  # fmt: skip
    """`templates`: all VMs of vms.ini."""
    if not config.defined and not head.places:
        return
    if not config.head and "head" not in head.places:
        yield Fault(head.at("head"), "is missing (which client has the batch system?)")
    if len(config.defined) > ENVIRONMENTS_MAX:
        yield Fault(head.where, f"{len(config.defined)} environments, the limit is {ENVIRONMENTS_MAX}")
    if config.policy == "expression" and not config.expr and "expr" not in head.places:
        yield Fault(head.at("policy"), "expression needs the key expr: { ... }")
    if config.expr and config.policy != "expression":
        yield Fault(head.at("expr"), f"is for policy = expression, and policy is {config.policy}")
    if config.utilisation_low > config.utilisation_high:
        yield Fault(head.at("utilisation_low"), "is above utilisation_high")
    if config.pause_s > config.pause_max_s:
        yield Fault(head.at("pause" if "pause" in head.places else "pause_max"), "pause is above pause_max")
    if config.approvers and not config.approval:
        yield Fault(head.at("approvers"), "is of no use without approval = yes")
    yield from _hosts(config, sections)
    yield from _claims(config.defined, sections)
    for one in config.defined:
        yield from _template(one, sections[one.name], templates)


def _hosts(config: EnvironmentsConfig, sections: Mapping[str, Section]) -> Iterator[Fault]:
    """A host that is named outright must be one of [environments]; what two reserve, neither can have alone."""
    plain = all(not _wild(pattern) for pattern in config.hosts)
    reserved: dict[str, str] = {}
    for one in config.defined:
        for key, patterns in (("hosts", one.hosts), ("reserved", one.reserved)):
            for pattern in patterns:
                if not _known(pattern, config.hosts, plain):
                    text = f"{quoted(pattern)} matches no host of [environments] hosts = {', '.join(config.hosts)}"
                    yield Fault(sections[one.name].at(key), text)
        for pattern in one.reserved:
            if other := reserved.get(pattern):
                yield Fault(sections[one.name].at("reserved"), f"{quoted(pattern)} is reserved for {other} already")
            reserved.setdefault(pattern, one.name)
    total = _slots(config) if plain else None
    if total is not None and sum(one.min for one in config.defined) > total:
        last = config.defined[-1]
        text = f"the minima of all environments are {sum(one.min for one in config.defined)} slots, and there are {total}"
        yield Fault(sections[last.name].at("min"), text)
    for one in config.defined if plain else ():
        own = sum(_may(one, host, config.defined) for host in config.hosts) * one.slots_per_host
        if one.min > own:
            yield Fault(sections[one.name].at("min"), f"{one.min} slots cannot be had: its hosts have {own}")


def _slots(config: EnvironmentsConfig) -> int:
    """Where all hosts are named outright."""
    return sum(
        max((one.slots_per_host for one in config.defined if _may(one, host, config.defined)), default=0)
        for host in config.hosts
        if not matches(host, config.exclude)
    )


def _may(one: EnvironmentConfig, host: str, every: Iterable[EnvironmentConfig]) -> bool:
    owner = next((other for other in every if matches(host, other.reserved)), None)
    return owner is one if owner else not one.hosts or matches(host, one.hosts)


def matches(host: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(host, pattern) for pattern in patterns)


def _wild(pattern: str) -> bool:
    return any(char in pattern for char in _WILD)


def _known(pattern: str, hosts: tuple[str, ...], plain: bool) -> bool:
    if plain:
        return any(fnmatchcase(host, pattern) for host in hosts)
    return _wild(pattern) or matches(pattern, hosts)


def _claims(defined: Iterable[EnvironmentConfig], sections: Mapping[str, Section]) -> Iterator[Fault]:
    """safety: a job that is two environments' would be counted twice, or for the wrong one."""
    seen: dict[tuple[str, str, str], str] = {}
    for one in defined:
        for queue in one.queue or ("",):
            for group in one.user_group or ("",):
                claim = (queue, one.feature, group)
                other = seen.setdefault(claim, one.name)
                if other != one.name and any(claim):
                    words = zip(("queue", "feature", "user_group"), claim, strict=True)
                    what = ", ".join(f"{word} {text}" for word, text in words if text)
                    key = "queue" if queue else "feature" if one.feature else "user_group"
                    yield Fault(sections[one.name].at(key), f"the jobs of {what} belong to {other} already")


def _template(one: EnvironmentConfig, section: Section, templates: Mapping[str, VmConfig]) -> Iterator[Fault]:
    where = section.at("template")
    if not one.template:
        return
    vm = templates.get(one.template)
    if vm is None:
        known = [each.name for each in templates.values() if each.template]
        yield Fault(where, f"{quoted(one.template)}: no such template in vms.ini ({known_near(one.template, known)})")
    elif not vm.template:
        yield Fault(where, f"{quoted(one.template)} is a VM of its own (write template = yes in its section of vms.ini)")
    else:
        for disk in vm.disks:
            if not disk.read_only and "$vm" not in disk.path:
                text = f"each VM made after {vm.name} would write {disk.path} (put $vm into its path in vms.ini, or ro)"
                yield Fault(where, text)


def template_faults(vm: VmConfig, at: Mapping[str, Where]) -> Iterator[Fault]:
    """What a template of vms.ini cannot say."""
    for key in ("hosts", "state", "restart", "restart_limit"):
        if vm.template and key in at:
            yield Fault(at[key], "is for its environment to say, because it is a template")


def tree_sections(trees: Iterable[Tree]) -> tuple[Section, dict[str, Section]]:
    """The section of them all, and those of the environments."""
    head = Section(ENVIRONMENTS.name, Where("environments.ini", 0, ENVIRONMENTS.name))
    sections: dict[str, Section] = {}
    for tree in trees:
        head = tree.section(ENVIRONMENTS.name)
        sections.update({name: each for name, each in tree.sections.items() if name != ENVIRONMENTS.name})
    return head, sections
