"""The mail queue: how many messages wait, and a command that tries them again. Copy it into the folder `[paths] plugins`."""

from pathlib import Path
from typing import Literal

from common.plugin import Refused, Site, Unknown, command, reader


@reader("queue", unit="messages")
def queue(folder: str = "/var/spool/postfix/deferred", older_than: float = 0.0) -> int:
    """How many files wait in `folder`; `older_than` seconds, where that is given."""
    from time import time

    place = Path(folder)
    if not place.is_dir():
        raise Unknown(f"{folder} is no folder: is there a mail server here?")
    return sum(1 for file in place.rglob("*") if file.is_file() and time() - file.stat().st_mtime >= older_than)


@command("queue", subject="folder")
def flush(site: Site, folder: str, action: Literal["touch", "count"] = "count") -> dict[str, int | str]:
    """`touch` makes every waiting file look new; `count` only counts."""
    if not folder.startswith("/var/spool/") and not folder.startswith("/tmp/"):
        raise Refused(f"{folder} is no spool folder")
    files = [file for file in Path(folder).rglob("*") if file.is_file()]
    if action == "touch":
        for file in files:
            file.touch()
        site.log(f"{len(files)} files touched in {folder}", "info")
    return {"client": site.client, "files": len(files)}
