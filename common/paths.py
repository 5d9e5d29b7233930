"""Where everything lies once it is installed: the one place. Knows names only, touches no file.

The daemons take their defaults from here; `make install` fills the units and init scripts with them:
`python3 -m common.paths` prints them as NAME=value lines for a shell. The client runs as root and the manager does not, so
they keep separate folders: else each would own, and lock, the other's.
"""

from __future__ import annotations

from pathlib import Path

PREFIX = Path("/opt/vmherd")  # the private virtual environment lies in PREFIX/venv
CONF = Path("/etc/vmherd")
LOG = Path("/var/log/vmherd")
STATE = Path("/var/lib/vmherd")  # of the manager
RUN = Path("/run/vmherd")  # of the manager and of vmbus
CLIENT_STATE = Path("/var/lib/vmherd-client")
CLIENT_RUN = Path("/run/vmherd-client")
USER = "vmherd"  # of the manager and of vmbus


def main() -> None:
    values = {name: value for name, value in globals().items() if name.isupper()}
    print("\n".join(f"{name}={value}" for name, value in values.items()))  # noqa: T201 - its one purpose


if __name__ == "__main__":
    main()
