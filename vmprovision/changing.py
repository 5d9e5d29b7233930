"""What changes the farm or its inventory: hosts added, removed, restarted; a new root given to one host after the other."""

from __future__ import annotations

import shlex
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from common.config.build import Findings
from common.config.model import ConfigurationError
from common.config.tree import read_tree
from vmprovision import edits, keys
from vmprovision import inventory as inventories
from vmprovision.built import Build, Builds
from vmprovision.farm import Farm
from vmprovision.inventory import load
from vmprovision.model import Host
from vmprovision.site import Site

Say = Callable[[str], None]


class Wrong(Exception):
    """The command line asks for what is not there: one sentence."""


def host(options: Namespace, say: Say) -> int:
    """`host add`, `host remove`: provision.ini changes only where the outcome is right. Raises ConfigurationError, Wrong."""
    path: Path = options.file
    known = load(path)
    text = path.read_text(encoding="utf-8")
    if options.deed == "add":
        if options.name in known.hosts:
            raise Wrong(f"{options.name} is there already: {known.hosts[options.name].where}")
        given = {key: getattr(options, key) for key in ("mac", "address", "profile")}
        text = edits.added(text, options.name, {**given, "groups": f"{options.groups}," if options.groups else ""})
    else:
        if options.name not in known.hosts:
            raise Wrong(f"there is no host {options.name}")
        text = edits.removed(text, known.hosts[options.name])
    _checked(text, path)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.chmod(path.stat().st_mode & 0o777)
    fresh.replace(path)
    say(f"{options.name}: {'added to' if options.deed == 'add' else 'removed from'} {path}; now `vmprovision write`")
    return 0


def _checked(text: str, path: Path) -> None:
    found = Findings()
    tree = read_tree(text, str(path), keys.SHAPE)
    found.faults += tree.faults
    inventories.build(tree, found)
    if found.faults:
        raise ConfigurationError(found.faults)


def _farm(options: Namespace, say: Say) -> Farm:
    vmctl = shlex.split(options.vmctl) if options.vmctl else [str(Path(sys.executable).parent / "vmctl")]
    program = (*vmctl, *(("--socket", options.socket) if options.socket else ()))
    return Farm(say, options.limit, program)


def reboot(site: Site, options: Namespace, say: Say) -> None:
    """Raises Wrong, FarmFault, TargetFault, NothingBuilt."""
    if options.name not in site.inventory.hosts:
        raise Wrong(f"there is no host {options.name}")
    build = _build(site.target.builds(), site.inventory.hosts[options.name])
    _farm(options, say).restart(options.name, "restart", lambda: build.digest, evacuate=not options.stay)


def _build(builds: Builds, one: Host) -> Build:
    build = builds.of(one)
    if build is None:
        raise Wrong(f"nothing was ever built for {one.name} (run vmprovision build)")
    return build


def pin(site: Site) -> None:
    """Each host keeps the root that is now written for it, whatever is built later. Raises TargetFault."""
    builds, hosts = site.target.builds(), site.inventory.hosts
    chosen = {name: build.digest for name, one in hosts.items() if (build := builds.of(one))}
    before = {name: digest for name, digest in builds.before.items() if name in hosts}
    if (chosen, before) != (builds.chosen, builds.before):
        site.target.keep(Builds(builds.current, builds.all, chosen, before))


def update(site: Site, options: Namespace, say: Say) -> None:
    """One host after the other; the first that fails ends it. Raises Wrong, FarmFault, TargetFault, NothingBuilt."""
    for name in options.hosts:
        if name not in site.inventory.hosts:
            raise Wrong(f"there is no host {name}")
    wanted = _wanted(site, options)
    if not wanted:
        say("every host has the root that it should have")
    farm = _farm(options, say)
    switch = _undo if options.undo else _switch
    for number, (name, digest) in enumerate(wanted, 1):
        say(f"{number} of {len(wanted)}: {name}")
        switched = partial(switch, site, name, digest)
        if options.undo and farm.booted(name) is None:
            farm.revive(name, switched)
        else:
            farm.restart(name, f"root {digest}", switched, evacuate=not options.stay)


def _wanted(site: Site, options: Namespace) -> list[tuple[str, str]]:
    """Host -> the digest that it is to have, where it has another."""
    builds = site.target.builds()
    hosts = [site.inventory.hosts[name] for name in options.hosts or site.inventory.hosts]
    found: list[tuple[str, str]] = []
    for one in hosts:
        now, newest = _build(builds, one).digest, builds.newest(one)
        digest = builds.before.get(one.name, now) if options.undo else newest.digest if newest else now
        if (one.profile, digest) not in builds.all:
            raise Wrong(f"{one.name}: the root {digest} is not there any more")
        if digest != now:
            found.append((one.name, digest))
    return found


def _switch(site: Site, name: str, digest: str) -> str:
    """From its next boot on; nobody else's boot changes. Hosts that do not have this root have nothing to undo any more."""
    builds, hosts = site.target.builds(), site.inventory.hosts
    one = hosts[name]
    now = _build(builds, one).digest
    before = {
        host: root
        for host, root in builds.before.items()
        if host in hosts and (hosts[host].profile != one.profile or _build(builds, hosts[host]).digest == digest)
    }
    return _boots(site, name, digest, {**before, name: now})


def _undo(site: Site, name: str, digest: str) -> str:
    """Once: then there is nothing to be undone."""
    before = site.target.builds().before
    return _boots(site, name, digest, {host: root for host, root in before.items() if host != name})


def _boots(site: Site, name: str, digest: str, before: Mapping[str, str]) -> str:
    builds = site.target.builds()
    site.target.keep(Builds(builds.current, builds.all, {**builds.chosen, name: digest}, before))
    site.target.apply(site.files())
    return digest
