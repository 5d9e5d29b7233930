"""The command `log`: a manager writes a line to this client's log."""

from __future__ import annotations

from typing import Literal

from common.plugin import Refused, Site, command

TEXT_CHARS_MAX = 2000


@command("log")
def log(site: Site, text: str, level: Literal["debug", "info", "warning", "error"] = "info") -> str:
    """`text` goes to the log's target (file, syslog, journal) as a line of part `runner`."""
    if not text.strip() or len(text) > TEXT_CHARS_MAX:
        raise Refused(f"text must have 1 to {TEXT_CHARS_MAX} characters")
    site.log(text, level)
    return "logged"
