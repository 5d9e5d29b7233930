"""The command line of vmctl: every command, its options and its help. Parses only; each command is a function elsewhere."""

from __future__ import annotations

import argparse
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from vmctl.arguments_environments import add_environments
from vmctl.arguments_failover import add_failover, add_why
from vmctl.arguments_images import add_images
from vmctl.arguments_vms import add_hosts, add_vms
from vmctl.completion import SHELLS, Completer
from vmctl.options import Commands, add_yes, command, common, completed, moment, number, span

EXITS = """\
exit codes:
  0 ok   1 some target failed or was silent   2 wrong usage or configuration   3 no manager reachable
  4 refused, or this manager does not lead    130 interrupted"""
DESCRIPTION = """\
See and steer the farm and its virtual machines through its manager.

TARGETs are names of clients, names of groups, or patterns like 'web*'; `all` is every client.
Lengths of time are written 90s, 15m, 2h, 1h30m or 1d."""
CONTROL_VERBS = ("ping", "hello", "reload", "set-ticks", "pause", "resume", "properties", "history", "shutdown")
EVENT_KINDS = (
    "client", "manager", "request", "trigger", "firing", "silence", "key", "reload", "notify", "refused", "vm", "failover",
    "environment",
)  # fmt: skip
EVENTS_DEFAULT = 50


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
    common(top, top=True)
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    _add_queries(commands)
    _add_fleet(commands)
    _add_triggers(commands)
    _add_silence(commands)
    _add_events(commands)
    _add_keys(commands)
    add_vms(commands)
    add_hosts(commands)
    add_environments(commands)
    add_failover(commands)
    add_why(commands)
    add_images(commands)
    _add_rest(commands)
    return top


def _targets(parser: ArgumentParser, before: str) -> None:
    """`before`: what stands before --on, which takes all words behind it."""
    parser.usage = f"{parser.prog} {before} --on TARGET [TARGET ...] [options]"
    completed(parser, "--on", by="target", nargs="+", required=True, metavar="TARGET", help="clients, groups, patterns, or all")
    parser.add_argument(
        "--timeout", type=span, metavar="SPAN", help="how long to wait for the answers (default: as the manager is set)"
    )


def _add_queries(commands: Commands) -> None:
    command(commands, "status", "the manager, its bus, clients and triggers on one screen", "queries:status")
    clients = command(commands, "clients", "all clients and their state", "queries:clients")
    completed(clients, "pattern", by="client", nargs="?", metavar="PATTERN", help="a name or a pattern like 'web*'")
    completed(clients, "--group", by="group", metavar="GROUP", help="only the members of this group")
    props = command(commands, "props", "the last known values, from the manager's own state", "queries:props")
    completed(props, "pattern", by="property", nargs="?", metavar="PATTERN", help="a property or a pattern like 'ram*'")
    completed(props, "--on", by="target", metavar="TARGET", help="only this client, group or pattern")
    history = command(commands, "history", "the recorded values of one property", "queries:history")
    completed(history, "client", by="client", metavar="CLIENT")
    completed(history, "property", by="property", metavar="PROPERTY")
    history.add_argument("--since", type=moment, metavar="TIME", help="2h (ago), 14:30 or 2026-11-24T14:30")


def _add_fleet(commands: Commands) -> None:
    get = command(commands, "get", "properties from the clients themselves", "fleet:get")
    completed(get, "properties", by="property", nargs="*", metavar="PROPERTY", help="none: all of them")
    get.add_argument("--fetch", action="store_true", help="let the clients read them now, instead of their last values")
    _targets(get, "[PROPERTY ...]")
    run = command(commands, "exec", "run a command on clients, where their own files allow it", "fleet:execute")
    completed(run, "command", by="command", metavar="COMMAND")
    run.add_argument("parameters", nargs="*", metavar="KEY=VALUE", help="its parameters; KEY:=JSON for other values than text")
    _targets(run, "COMMAND [KEY=VALUE ...]")
    add_yes(run)
    control = command(commands, "control", "steer the client daemons: " + ", ".join(CONTROL_VERBS), "fleet:control")
    control.add_argument("verb", metavar="VERB").completer = Completer("verb", CONTROL_VERBS)  # type: ignore[attr-defined]
    control.add_argument(
        "arguments", nargs="*", metavar="KEY=VALUE", help="its arguments; KEY:=JSON for other values than text"
    )
    _targets(control, "VERB [KEY=VALUE ...]")
    add_yes(control)


def _add_triggers(commands: Commands) -> None:
    listed = command(commands, "triggers", "all triggers: state, why, last firing", "rules:triggers")
    completed(listed, "pattern", by="trigger", nargs="?", metavar="PATTERN", help="a name or a pattern like 'ram*'")
    below = command(commands, "trigger", "one trigger: show, test, enable, disable", None).add_subparsers(
        title="commands", metavar="COMMAND"
    )
    show = command(below, "show", "its code, its state and why, its last firings", "rules:show")
    completed(show, "name", by="trigger", metavar="NAME")
    completed(show, "--subject", by="client", metavar="CLIENT", help="only what concerns this client")
    test = command(below, "test", "what it would do now or over recorded time; nothing is done", "rules:test")
    completed(test, "name", by="trigger", nargs="?", metavar="NAME", help="a configured trigger, or one of FILE")
    test.add_argument("--file", metavar="FILE", help="triggers that are not configured yet; - reads standard input")
    past = test.add_mutually_exclusive_group()
    past.add_argument("--over", type=span, metavar="SPAN", help="replay the recorded values of this long, instead of now")
    past.add_argument("--samples", metavar="FILE", help="replay the samples written in FILE, instead of now")
    for name, enabled, help in (
        ("enable", True, "switch it on again"),
        ("disable", False, "switch it off until it is enabled"),
    ):
        switch = command(below, name, help, "rules:enable")
        switch.set_defaults(enabled=enabled)
        completed(switch, "name", by="trigger", metavar="NAME")


def _add_silence(commands: Commands) -> None:
    help = "keep triggers quiet for a while: silence WHAT --for 2h --why '...'; list, remove"
    silence = command(commands, "silence", help, "rules:silences")
    below = silence.add_subparsers(title="commands", metavar="COMMAND")
    add = command(below, "add", "silence a trigger, client:NAME, group:NAME or all", "rules:silence")
    completed(add, "what", by="silence", metavar="WHAT", help="a trigger, client:NAME, group:NAME or all")
    end = add.add_mutually_exclusive_group(required=True)
    end.add_argument("--for", dest="span", metavar="SPAN", help="for so long: 2h")
    end.add_argument("--until", metavar="TIME", help="until then: 18:00 or 2026-11-24T08:00")
    add.add_argument("--why", required=True, metavar="TEXT", help="the reason, for your colleagues")
    command(below, "list", "what is silenced, by whom, until when", "rules:silences")
    remove = command(below, "remove", "end silences before their time", "rules:unsilence")
    completed(remove, "ids", by="silence-id", nargs="+", metavar="ID")


def _add_events(commands: Commands) -> None:
    events = command(commands, "events", "what happened, oldest first", "journal:events")
    events.add_argument("-f", "--follow", action="store_true", help="go on with what happens, until Ctrl-C")
    events.add_argument(
        "-n", "--number", type=number, default=EVENTS_DEFAULT, metavar="N", help=f"the last N (default {EVENTS_DEFAULT})"
    )
    events.add_argument("--since", type=moment, metavar="TIME", help="2h (ago), 14:30 or 2026-11-24T14:30")
    events.add_argument("--kind", choices=EVENT_KINDS, metavar="KIND", help="only " + ", ".join(EVENT_KINDS))
    completed(events, "--subject", by="subject", metavar="NAME", help="only what concerns this client, trigger, ...")


def _add_keys(commands: Commands) -> None:
    below = command(commands, "key", "whose word counts: list, accept, reject, remove keys", None).add_subparsers(
        title="commands", metavar="COMMAND"
    )
    listed = command(below, "list", "all keys, those that wait first", "keys:keys")
    listed.add_argument("--state", choices=("pending", "accepted", "rejected", "changed"), help="only these")
    for verb, help in (
        ("accept", "believe this client from now on (compare the fingerprint first)"),
        ("reject", "never believe it"),
        ("remove", "forget the key; the client has to introduce itself again"),
    ):
        decide = command(below, verb, help, "keys:decide")
        decide.set_defaults(verb=verb)
        completed(decide, "names", by=f"key-{verb}", nargs="+", metavar="NAME", help="names, or patterns like 'web*'")
        if verb == "accept":
            decide.add_argument("--fingerprint", metavar="XXXX:...", help="only if this is the key that it shows")
        add_yes(decide)


def _add_rest(commands: Commands) -> None:
    command(commands, "reload", "let the manager read its files again", "journal:reload")
    command(commands, "version", "the versions of vmctl and of the manager", "queries:version")
    completion = command(commands, "completion", 'print the completion code for a shell: eval "$(vmctl completion bash)"', None)
    completion.add_argument("shell", choices=SHELLS)
    completion.set_defaults(run="completion:print_completion")


def completing() -> bool:
    """Are we called by a shell that wants completions?"""
    return "_ARGCOMPLETE" in os.environ
