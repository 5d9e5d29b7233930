"""The command line of `vmctl ha`, `vmctl why` and what is done to hosts that are gone. Parses only."""

from __future__ import annotations

from vmctl.options import Commands, add_yes, command, completed, number


def add_failover(commands: Commands) -> None:
    help = "fail-over: status, timeline, capacity, arm, disarm, confirm, failback"
    below = command(commands, "ha", help, None).add_subparsers(title="commands", metavar="COMMAND")
    command(below, "status", "who may act, how it stands with each host, and why nothing is done", "failover:status")
    command(below, "timeline", "the proof for the configured numbers, second by second", "failover:timeline")
    capacity = command(below, "capacity", "would every protected VM find a host when hosts die", "failover:capacity")
    capacity.add_argument(
        "--hosts", type=number, metavar="N", help="so many, one after the other (default: failures_to_tolerate)"
    )
    disarm = command(
        below, "disarm", "restart nothing and fence nothing until it is armed again; leases go on", "failover:disarm"
    )
    disarm.add_argument("--why", required=True, metavar="TEXT", help="the reason, for your colleagues")
    command(below, "arm", "act again", "failover:arm")
    confirm = command(
        below, "confirm", "many hosts are silent at once, and indeed gone: act on it; asks first", "failover:confirm"
    )
    add_yes(confirm)
    failback = command(below, "failback", "VMs that were restarted elsewhere move back to where they ran", "failover:failback")
    completed(failback, "name", by="host", nargs="?", metavar="HOST", help="only those of this host")


def add_why(commands: Commands) -> None:
    why = command(commands, "why", "why a VM is where it is, why not elsewhere, why nothing happens", "failover:why")
    completed(why, "name", by="vm", metavar="VM")


def add_fencing(below: Commands) -> None:
    """Under `vmctl host`."""
    fence = command(below, "fence", "cut its power now, by the devices of fences.ini; asks first", "failover:fence")
    completed(fence, "name", by="host", metavar="NAME")
    add_yes(fence)
    dead = command(
        below,
        "confirm-dead",
        "say that it is switched off, where nothing else proves it; its VMs start elsewhere",
        "failover:confirm_dead",
    )
    completed(dead, "name", by="host", metavar="NAME")
    dead.add_argument("--again", metavar="NAME", help="the name once more, where there is no terminal to type it on")
