"""The command line of vmctl: every command, its options and its help. Parses only; each command is a function elsewhere."""

from __future__ import annotations

import argparse
import os
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from vmctl.completion import SHELLS, Completer, ImageCompleter
from vmctl.link import DEFAULT_FOLDER
from vmctl.wording import moment_at, span_s

EXITS = """\
exit codes:
  0 ok   1 some target failed or was silent   2 wrong usage or configuration   3 no manager reachable
  4 refused, or this manager does not lead    130 interrupted"""
DESCRIPTION = """\
See and steer the farm through its manager.

TARGETs are names of clients, names of groups, or patterns like 'web*'; `all` is every client.
Lengths of time are written 90s, 15m, 2h, 1h30m or 1d."""
CONTROL_VERBS = ("ping", "hello", "reload", "set-ticks", "pause", "resume", "properties", "history", "shutdown")
EVENT_KINDS = ("client", "manager", "request", "trigger", "firing", "silence", "key", "reload", "notify", "refused")
EVENTS_DEFAULT = 50
Commands = Any  # argparse keeps the type of add_subparsers to itself


def parse(words: Sequence[str]) -> Namespace:
    """Raises SystemExit(2) with usage, as argparse does."""
    options = parser().parse_args(with_silence_add(words))
    if options.run is None:
        options.help_of.print_help()
        raise SystemExit(2)
    return options


def with_silence_add(words: Sequence[str]) -> list[str]:
    """`silence ram_low --for 2h` is short for `silence add ram_low --for 2h`."""
    words = list(words)
    place = next((at for at, word in enumerate(words) if word == "silence"), None)
    if place is None or any(not word.startswith("-") and not _is_value(words, at) for at, word in enumerate(words[:place])):
        return words
    rest = words[place + 1 :]
    ends = any(word.startswith(("--for", "--until", "--why")) for word in rest)
    if rest and rest[0] not in ("add", "list", "remove") and (ends or not rest[0].startswith("-")):
        words.insert(place + 1, "add")
    return words


def _is_value(words: list[str], at: int) -> bool:
    return at > 0 and words[at - 1] == "--socket"


def parser() -> ArgumentParser:
    """The whole command line."""
    top = ArgumentParser(
        "vmctl", description=DESCRIPTION, epilog=EXITS, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    top.set_defaults(run=None, help_of=top)
    _common(top, top=True)
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    _add_queries(commands)
    _add_fleet(commands)
    _add_triggers(commands)
    _add_silence(commands)
    _add_events(commands)
    _add_keys(commands)
    _add_images(commands)
    _add_rest(commands)
    return top


def _common(parser: ArgumentParser, *, top: bool = False) -> None:
    """--json and --socket, before the command or after it."""
    absent = None if top else argparse.SUPPRESS
    parser.add_argument(
        "--json",
        action="store_true",
        default=False if top else absent,
        help="one JSON document instead of tables, for programs",
    )
    parser.add_argument(
        "--socket",
        metavar="PATH",
        default=absent,
        help=f"the manager's socket, or its folder (default: VMHERD_SOCKET, else {DEFAULT_FOLDER})",
    )


def _command(commands: Commands, name: str, help: str, run: str | None) -> ArgumentParser:
    """`run` is module:function below vmctl, loaded when it is called: most of them are not."""
    made: ArgumentParser = commands.add_parser(name, help=help, description=help, allow_abbrev=False)
    made.set_defaults(run=run, help_of=made)
    _common(made)
    return made


def _completed(parser: ArgumentParser, *names: str, by: str, **settings: Any) -> None:
    """An argument whose values the shell completes live from the manager; `by` says which kind of names."""
    action = parser.add_argument(*names, **settings)
    action.completer = Completer(by)  # type: ignore[attr-defined]


def _targets(parser: ArgumentParser, before: str) -> None:
    """`before`: what stands before --on, which takes all words behind it."""
    parser.usage = f"{parser.prog} {before} --on TARGET [TARGET ...] [options]"
    _completed(
        parser, "--on", by="target", nargs="+", required=True, metavar="TARGET", help="clients, groups, patterns, or all"
    )
    parser.add_argument(
        "--timeout", type=_span, metavar="SPAN", help="how long to wait for the answers (default: as the manager is set)"
    )


def _add_queries(commands: Commands) -> None:
    _command(commands, "status", "the manager, its bus, clients and triggers on one screen", "queries:status")
    clients = _command(commands, "clients", "all clients and their state", "queries:clients")
    _completed(clients, "pattern", by="client", nargs="?", metavar="PATTERN", help="a name or a pattern like 'web*'")
    _completed(clients, "--group", by="group", metavar="GROUP", help="only the members of this group")
    props = _command(commands, "props", "the last known values, from the manager's own state", "queries:props")
    _completed(props, "pattern", by="property", nargs="?", metavar="PATTERN", help="a property or a pattern like 'ram*'")
    _completed(props, "--on", by="target", metavar="TARGET", help="only this client, group or pattern")
    history = _command(commands, "history", "the recorded values of one property", "queries:history")
    _completed(history, "client", by="client", metavar="CLIENT")
    _completed(history, "property", by="property", metavar="PROPERTY")
    history.add_argument("--since", type=_moment, metavar="TIME", help="2h (ago), 14:30 or 2026-11-24T14:30")


def _add_fleet(commands: Commands) -> None:
    get = _command(commands, "get", "properties from the clients themselves", "fleet:get")
    _completed(get, "properties", by="property", nargs="*", metavar="PROPERTY", help="none: all of them")
    get.add_argument("--fetch", action="store_true", help="let the clients read them now, instead of their last values")
    _targets(get, "[PROPERTY ...]")
    run = _command(commands, "exec", "run a command on clients, where their own files allow it", "fleet:execute")
    _completed(run, "command", by="command", metavar="COMMAND")
    run.add_argument("parameters", nargs="*", metavar="KEY=VALUE", help="its parameters; KEY:=JSON for other values than text")
    _targets(run, "COMMAND [KEY=VALUE ...]")
    _yes(run)
    control = _command(commands, "control", "steer the client daemons: " + ", ".join(CONTROL_VERBS), "fleet:control")
    control.add_argument("verb", metavar="VERB").completer = Completer("verb", CONTROL_VERBS)  # type: ignore[attr-defined]
    control.add_argument(
        "arguments", nargs="*", metavar="KEY=VALUE", help="its arguments; KEY:=JSON for other values than text"
    )
    _targets(control, "VERB [KEY=VALUE ...]")
    _yes(control)


def _yes(parser: ArgumentParser) -> None:
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask for confirmation")


def _add_triggers(commands: Commands) -> None:
    listed = _command(commands, "triggers", "all triggers: state, why, last firing", "rules:triggers")
    _completed(listed, "pattern", by="trigger", nargs="?", metavar="PATTERN", help="a name or a pattern like 'ram*'")
    below = _command(commands, "trigger", "one trigger: show, test, enable, disable", None).add_subparsers(
        title="commands", metavar="COMMAND"
    )
    show = _command(below, "show", "its code, its state and why, its last firings", "rules:show")
    _completed(show, "name", by="trigger", metavar="NAME")
    _completed(show, "--subject", by="client", metavar="CLIENT", help="only what concerns this client")
    test = _command(below, "test", "what it would do now or over recorded time; nothing is done", "rules:test")
    _completed(test, "name", by="trigger", nargs="?", metavar="NAME", help="a configured trigger, or one of FILE")
    test.add_argument("--file", metavar="FILE", help="triggers that are not configured yet; - reads standard input")
    past = test.add_mutually_exclusive_group()
    past.add_argument("--over", type=_span, metavar="SPAN", help="replay the recorded values of this long, instead of now")
    past.add_argument("--samples", metavar="FILE", help="replay the samples written in FILE, instead of now")
    for name, enabled, help in (
        ("enable", True, "switch it on again"),
        ("disable", False, "switch it off until it is enabled"),
    ):
        switch = _command(below, name, help, "rules:enable")
        switch.set_defaults(enabled=enabled)
        _completed(switch, "name", by="trigger", metavar="NAME")


def _add_silence(commands: Commands) -> None:
    help = "keep triggers quiet for a while: silence WHAT --for 2h --why '...'; list, remove"
    silence = _command(commands, "silence", help, "rules:silences")
    below = silence.add_subparsers(title="commands", metavar="COMMAND")
    add = _command(below, "add", "silence a trigger, client:NAME, group:NAME or all", "rules:silence")
    _completed(add, "what", by="silence", metavar="WHAT", help="a trigger, client:NAME, group:NAME or all")
    end = add.add_mutually_exclusive_group(required=True)
    end.add_argument("--for", dest="span", metavar="SPAN", help="for so long: 2h")
    end.add_argument("--until", metavar="TIME", help="until then: 18:00 or 2026-11-24T08:00")
    add.add_argument("--why", required=True, metavar="TEXT", help="the reason, for your colleagues")
    _command(below, "list", "what is silenced, by whom, until when", "rules:silences")
    remove = _command(below, "remove", "end silences before their time", "rules:unsilence")
    _completed(remove, "ids", by="silence-id", nargs="+", metavar="ID")


def _add_events(commands: Commands) -> None:
    events = _command(commands, "events", "what happened, oldest first", "journal:events")
    events.add_argument("-f", "--follow", action="store_true", help="go on with what happens, until Ctrl-C")
    events.add_argument(
        "-n", "--number", type=_number, default=EVENTS_DEFAULT, metavar="N", help=f"the last N (default {EVENTS_DEFAULT})"
    )
    events.add_argument("--since", type=_moment, metavar="TIME", help="2h (ago), 14:30 or 2026-11-24T14:30")
    events.add_argument("--kind", choices=EVENT_KINDS, metavar="KIND", help="only " + ", ".join(EVENT_KINDS))
    _completed(events, "--subject", by="subject", metavar="NAME", help="only what concerns this client, trigger, ...")


def _add_keys(commands: Commands) -> None:
    below = _command(commands, "key", "whose word counts: list, accept, reject, remove keys", None).add_subparsers(
        title="commands", metavar="COMMAND"
    )
    listed = _command(below, "list", "all keys, those that wait first", "keys:keys")
    listed.add_argument("--state", choices=("pending", "accepted", "rejected", "changed"), help="only these")
    for verb, help in (
        ("accept", "believe this client from now on (compare the fingerprint first)"),
        ("reject", "never believe it"),
        ("remove", "forget the key; the client has to introduce itself again"),
    ):
        decide = _command(below, verb, help, "keys:decide")
        decide.set_defaults(verb=verb)
        _completed(decide, "names", by=f"key-{verb}", nargs="+", metavar="NAME", help="names, or patterns like 'web*'")
        if verb == "accept":
            decide.add_argument("--fingerprint", metavar="XXXX:...", help="only if this is the key that it shows")
        _yes(decide)


def _add_images(commands: Commands) -> None:
    help = "what VMs boot from: add, list, show, verify, remove images; who-uses"
    below = _command(commands, "image", help, None).add_subparsers(title="commands", metavar="COMMAND")
    add = _command(below, "add", "publish a kernel with its initrd, or a disk, as the newest version of NAME", "images:add")
    _image(add, "name", metavar="NAME")
    add.add_argument("--kernel", metavar="FILE")
    add.add_argument("--initrd", metavar="FILE", help="the initial file system; of a diskless VM, all that it has")
    add.add_argument("--disk", metavar="FILE", help="a raw disk, which VMs only read")
    add.add_argument("--device", default="xvda", metavar="NAME", help="as which they see it (default xvda)")
    add.add_argument("--cmdline", default="", metavar="TEXT", help="the kernel's command line; a VM's own comes behind it")
    add.add_argument("--version", metavar="VERSION", help="its name (default: the date and a counter, as 2026.11.28-1)")
    add.add_argument("--note", default="", metavar="TEXT", help="what is new, for your colleagues")
    add.add_argument("--create", action="store_true", help="begin a repository: the folder is new, or empty")
    listed = _command(below, "list", "all images and their versions, the newest last", "images:listing")
    _image(listed, "pattern", nargs="?", metavar="PATTERN", help="a name or a pattern like 'node*'")
    show = _command(below, "show", "one version: files, checksums, who made it", "images:show")
    _image(show, "image", versions=True, metavar="NAME[@VERSION]", help="without VERSION the newest")
    verify = _command(below, "verify", "read every file and compare it with what was published", "images:verify")
    _image(verify, "image", versions=True, nargs="?", metavar="NAME[@VERSION]", help="none: all of them")
    remove = _command(below, "remove", "take a version away for good; refused while a VM uses it", "image_users:remove")
    _image(remove, "image", versions=True, metavar="NAME@VERSION")
    _yes(remove)
    users = _command(below, "who-uses", "the VMs that run from an image, and those defined with it", "image_users:who_uses")
    _image(users, "image", versions=True, metavar="NAME[@VERSION]")


def _image(parser: ArgumentParser, name: str, *, versions: bool = False, **settings: Any) -> None:
    """An image, completed from the folder of images, and the option that names it."""
    parser.add_argument(name, **settings).completer = ImageCompleter(versions)  # type: ignore[attr-defined]
    parser.add_argument(
        "--repository",
        metavar="PATH",
        help="the folder of images (default: VMHERD_IMAGES, else what the manager's file says)",
    )


def _add_rest(commands: Commands) -> None:
    _command(commands, "reload", "let the manager read its files again", "journal:reload")
    _command(commands, "version", "the versions of vmctl and of the manager", "queries:version")
    completion = _command(
        commands, "completion", 'print the completion code for a shell: eval "$(vmctl completion bash)"', None
    )
    completion.add_argument("shell", choices=SHELLS)
    completion.set_defaults(run="completion:print_completion")


def _span(text: str) -> float:
    try:
        return span_s(text)
    except ValueError as fault:
        raise argparse.ArgumentTypeError(str(fault)) from None


def _moment(text: str) -> float:
    try:
        return moment_at(text, time.time())
    except ValueError as fault:
        raise argparse.ArgumentTypeError(str(fault)) from None


def _number(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def completing() -> bool:
    """Are we called by a shell that wants completions?"""
    return "_ARGCOMPLETE" in os.environ
