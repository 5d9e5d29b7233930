"""vmprovision: reads the inventory, does what the command line says, and says what it has done."""

from __future__ import annotations

import signal
import sys
from argparse import Namespace
from collections.abc import Sequence
from types import FrameType

from common.config.model import ConfigurationError
from common.images.manifest import ImageFault
from common.images.repository import Repository
from provision import progress, roots
from provision.flash import would_write
from provision.programs import NotToBeHad
from vmprovision import changing, edits, making, plan
from vmprovision.arguments import parser
from vmprovision.bars import Bars
from vmprovision.farm import FarmFault
from vmprovision.inventory import load
from vmprovision.site import Site
from vmprovision.target import TargetFault

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130


def main() -> int:
    """The exit code; docs/provisioning.md lists them."""
    signal.signal(signal.SIGTERM, _interrupted)
    return run(sys.argv[1:])


def _interrupted(number: int, frame: FrameType | None) -> None:
    """As by Ctrl-C: what is half done is cleared away."""
    raise KeyboardInterrupt


def run(words: Sequence[str]) -> int:
    options = parser().parse_args(words)
    try:
        return _do(options)
    except ConfigurationError as fault:
        print(f"{fault}\n{len(fault.faults)} fault{'' if len(fault.faults) == 1 else 's'}", file=sys.stderr)
        return WRONG
    except changing.Wrong as fault:
        print(f"vmprovision: {fault}", file=sys.stderr)
        return WRONG
    except (NotToBeHad, TargetFault, FarmFault, ImageFault, plan.NothingBuilt, ValueError) as fault:
        print(f"vmprovision: {fault}", file=sys.stderr)
        return FAILED
    except OSError as fault:
        print(f"vmprovision: {fault.filename or 'system'}: {fault.strerror}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("vmprovision: interrupted; what was there before is untouched", file=sys.stderr)
        return INTERRUPTED


def _do(options: Namespace) -> int:
    if options.command == "host" and options.deed in ("add", "remove"):
        return changing.host(options, print)
    inventory = load(options.file)
    site = Site(inventory, options.cache)
    match options.command:
        case "check":
            print(f"{options.file}: good: {edits.summary(inventory)}")
        case "build":
            _build(site, options.profiles, grub=not options.no_grub)
        case "write":
            _write(site, options)
        case "publish":
            _publish(site, options)
        case "writes":
            _writes(site, options.profile)
        case "update":
            changing.update(site, options, print)
        case "host":
            changing.reboot(site, options, print)
    return DONE


def _known(names: Sequence[str], known: Sequence[str], what: str) -> None:
    for name in names:
        if name not in known:
            raise changing.Wrong(f"there is no {what} {name} (there are: {', '.join(known) or 'none'})")


def _build(site: Site, names: Sequence[str], *, grub: bool) -> None:
    profiles = site.inventory.profiles
    _known(names, list(profiles), "profile")
    with Bars():
        if grub:
            making.loaders(site.target, site.shop, print)
        for name in progress.each("profiles", names or list(profiles)):
            making.build_profile(site.target, site.shop, profiles[name], print)
    for old in site.target.forget(site.target.builds()):
        print(f"{old}: removed, no host has it")


def _write(site: Site, options: Namespace) -> None:
    if not options.dry_run:
        changing.pin(site)
    files = site.files()
    changes = site.target.changes(files) if options.dry_run else site.target.apply(files)
    for one in changes:
        print(f"{one.word:8} {site.target.folder / one.path}")
        if options.diff:
            print(one.difference(), end="")
    if not changes:
        print(f"{site.target.folder}: nothing to change")
    elif options.dry_run:
        print("nothing was written (--dry-run)")


def _publish(site: Site, options: Namespace) -> None:
    inventory = site.inventory
    _known(options.images, [*inventory.images, *inventory.gateways], "image or gateway")
    if inventory.server.images is None:
        raise changing.Wrong("[server] images is missing: which folder is the image repository?")
    repository = Repository.create(inventory.server.images) if options.create else Repository(inventory.server.images)
    with Bars():
        for _ in making.publish(repository, site.shop, inventory, options.images, print):
            pass


def _writes(site: Site, name: str) -> None:
    _known([name], list(site.inventory.profiles), "profile")
    made = roots.build(site.shop, making.recipe(site.inventory.profiles[name]))
    if made.shared is None:
        print(f"{name}: its root lies in RAM, where everything may be written")
        return
    found = would_write(made.shared)
    for path, who in found.items():
        print(f"/{path}: named by {', '.join(who[:4])}{' and others' if len(who) > 4 else ''}")
    print(f"{len(found)} places outside what each machine may write; what only reads there does no harm")


if __name__ == "__main__":
    sys.exit(main())
