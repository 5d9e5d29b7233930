"""Programs that the client's own file lists under [programs]: as a reader (any Nagios or Icinga check) and as a command.

A caller names a program and gives its parameters; each must match its pattern as a whole, and no shell sees them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from common.config.model import ProgramConfig
from common.plugin import CommandFailed, Refused, Site, Unknown, command, reader
from common.program import Finished, NotStarted, run_program
from common.value import Value
from plugins.perfdata import parse

STATUS = {0: "ok", 1: "warning", 2: "critical", 3: "unknown"}
PARAMETER_CHARS_MAX = 4096
MARGIN_S = 0.5  # the program is ended so much before its worker would be
_BEGINS_WITH_DASH = re.compile(r"(?:\^|\\A|\((?:\?:)?)*(?:\\?-|\[\+?\\?-\+?\])")  # -5, -?5, [-+]5, (?:-a|-b)
_SLOT = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


@reader("exec")
def exec_reader(site: Site, program: str, **parameters: str) -> dict[str, Value]:
    """A check program's word: `status` (ok, warning, critical, unknown), `code`, `text`, `long_text`, `perfdata`."""
    one = listed(site, program)
    try:
        finished = run(site, one, parameters, own=True)
    except NotStarted as fault:
        raise Unknown(str(fault)) from None
    if finished.status is None or finished.status < 0:
        raise Unknown(f"{program}: {finished.why or f'ended by signal {-(finished.status or 0)}'}")
    printed = parse(finished.output)
    text = printed.text or finished.errors.strip()
    status = STATUS.get(finished.status, "unknown")
    return {
        "status": status,
        "code": finished.status,
        "text": text,
        "long_text": printed.long_text,
        "perfdata": printed.perfdata,
    }


@command("exec")
def exec_command(site: Site, program: str, **parameters: str) -> dict[str, Value]:
    """Runs it; the result holds its exit `status`, `output` and `errors`. A status other than 0 is a failure."""
    one = listed(site, program)
    try:
        finished = run(site, one, parameters)
    except NotStarted as fault:
        raise CommandFailed(str(fault)) from None
    result: dict[str, Value] = {"status": finished.status, "output": finished.output, "errors": finished.errors}
    if finished.cut:
        result["cut"] = True
    if finished.status != 0:
        raise CommandFailed(f"{program}: {_how(finished)}", result=result)
    return result


def listed(site: Site, program: str) -> ProgramConfig:
    """Raises Refused."""
    one = site.programs.get(program)
    if one is None:
        known = ", ".join(sorted(site.programs)) or "none"
        raise Refused(f"program {program} is not listed under [programs] of this client; there are: {known}")
    return one


def run(site: Site, program: ProgramConfig, parameters: Mapping[str, str], *, own: bool = False) -> Finished:
    """`own`: the parameters come from the client's own file. Raises Refused, NotStarted."""
    timeout_s = max(0.1, min(program.timeout_s, site.remaining_s() - MARGIN_S))
    argv = arguments(program, parameters, own=own)
    return run_program(argv, timeout_s=timeout_s, output_bytes_max=program.output_bytes_max)


def arguments(program: ProgramConfig, parameters: Mapping[str, str], *, own: bool = False) -> list[str]:
    """argv with each {name} filled in. Raises Refused.

    safety: a value that its pattern does not match as a whole never gets there, nor one of a manager that has no pattern."""
    wanted = {name for part in program.argv for name in _SLOT.findall(part)}
    if unknown := sorted(set(parameters) - wanted):
        raise Refused(f"program {program.name} has no parameter {', '.join(unknown)}")
    if missing := sorted(wanted - set(parameters)):
        raise Refused(f"program {program.name} needs parameter {', '.join(missing)}")
    for name, value in parameters.items():
        pattern = program.patterns.get(name)
        if pattern is None and not own:
            raise Refused(f"program {program.name}: parameter {name} has no pattern in the client's file")
        if len(value) > PARAMETER_CHARS_MAX or "\0" in value or re.fullmatch(pattern or "(?s:.*)", value, re.ASCII) is None:
            raise Refused(f"program {program.name}: parameter {name} does not match {pattern}")
        if not own and value.startswith("-") and any(part.startswith(f"{{{name}}}") for part in program.argv):
            _check_option(program, name, str(pattern))
    return [_SLOT.sub(lambda slot: parameters[slot[1]], part) for part in program.argv]


def _check_option(program: ProgramConfig, name: str, pattern: str) -> None:
    """safety: `\\S+` would let an option of the program through, as `--output=/etc/passwd`. Raises Refused."""
    if not _BEGINS_WITH_DASH.match(pattern):
        raise Refused(
            f"program {program.name}: parameter {name} begins with a dash, as options do, and its pattern {pattern} does not"
        )


def _how(finished: Finished) -> str:
    if finished.status is None:
        return finished.why
    if finished.status < 0:
        return f"ended by signal {-finished.status}"
    last = (finished.errors.strip() or finished.output.strip()).splitlines()[-1:]
    return f"exit status {finished.status}" + (f": {last[0][:200]}" if last else "")
