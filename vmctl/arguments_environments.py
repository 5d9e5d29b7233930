"""The command line of `vmctl env`: every command, its options and its help. Parses only."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser

from vmctl.options import Commands, command, completed, number


def add_environments(commands: Commands) -> None:
    help = "environments, which share hosts by what the batch queues hold: list, show, plan, request, freeze, ..."
    below = command(commands, "env", help, None).add_subparsers(title="commands", metavar="COMMAND")
    command(below, "list", "all environments: jobs, slots, what is wanted", "environments:environments")
    show = command(below, "show", "one environment and each of its slots; without a name all slots", "environments:show")
    completed(show, "name", by="env", nargs="?", metavar="NAME")
    help = "what would be decided now, and why; what is rejected, and why; nothing is done"
    command(below, "plan", help, "environments:plan")
    _add_words(below)
    _add_requests(below)


def _add_words(below: Commands) -> None:
    freeze = command(below, "freeze", "let the mix stay as it is; what is under way goes on", "environments:freeze")
    _why(freeze)
    command(below, "thaw", "let the mix follow the queues again", "environments:thaw")
    exclude = command(below, "exclude", "take hosts out: their slots are drained and stopped", "environments:exclude")
    completed(exclude, "hosts", by="env-host", nargs="+", metavar="HOST")
    _why(exclude)
    include = command(below, "include", "let environments use hosts again that were excluded", "environments:include")
    completed(include, "hosts", by="env-host", nargs="+", metavar="HOST")
    release = command(below, "release", "try again at once what is paused because it failed", "environments:release")
    completed(release, "names", by="env-paused", nargs="+", metavar="NAME", help="slots, hosts, or environments")


def _why(parser: ArgumentParser) -> None:
    parser.add_argument("--why", required=True, metavar="TEXT", help="the reason, for your colleagues")


def _add_requests(below: Commands) -> None:
    ask = command(below, "request", "ask for slots of an environment for a time", "environments:request")
    completed(ask, "environment", by="env", metavar="NAME")
    ask.add_argument("slots", type=number, metavar="SLOTS")
    ask.add_argument(
        "--from", dest="begins", type=when, metavar="TIME", help="08:00, 2026-11-24T08:00, or 2h (from now); default: now"
    )
    end = ask.add_mutually_exclusive_group(required=True)
    end.add_argument("--until", dest="ends", type=when, metavar="TIME", help="18:00, 2026-11-24T18:00")
    end.add_argument("--for", dest="span", metavar="SPAN", help="for so long: 8h")
    ask.add_argument("--group", metavar="GROUP", help="whose quota it counts against")
    ask.add_argument("--why", metavar="TEXT", help="what for, for your colleagues")
    listed = command(
        below, "requests", "the calendar: requests that are in force, come, or wait for approval", "environments:requests"
    )
    listed.add_argument("--all", action="store_true", help="those that are over or cancelled, too")
    for verb, help in (("approve", "let a request count"), ("cancel", "take a request back")):
        made = command(below, verb, help, "environments:decide")
        made.set_defaults(verb=verb)
        completed(made, "id", by="env-request", metavar="ID")


def when(text: str) -> float:
    """A moment to come: a length of time from now, a clock time (of tomorrow where it is over today), or a date."""
    import time

    from vmctl.wording import moment_at, span_s

    now = time.time()
    try:
        return now + span_s(text)
    except ValueError:
        pass
    try:
        at = moment_at(text, now)
    except ValueError as fault:
        raise argparse.ArgumentTypeError(str(fault)) from None
    return at + 86_400 if at < now and ":" in text and "-" not in text else at
