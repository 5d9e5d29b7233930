"""A boot storm: clients fetch what a host fetches to boot, all at once, from one web server, and compare checksums.

    python -m bench.bootstorm [--clients 50] [--megabytes 42]

The server is nginx where it is installed, as docs/provisioning.md has it, else Python's own; all on loopback. Told are the time
until the last client has all, what the server's processes used of a core, and their memory (sum of RSS).
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

PIECE_BYTES = 1 << 20
START_S = 20.0
NGINX = """\
daemon off; worker_processes 2; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{ access_log off; sendfile on; server {{ listen 127.0.0.1:{port}; root {folder}/boot; }} }}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--megabytes", type=int, default=42)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return measure(Path(folder), options.clients, options.megabytes * 1_000_000)


def measure(folder: Path, clients: int, size: int) -> int:
    (folder / "boot").mkdir()
    data = os.urandom(size)
    (folder / "boot" / "root").write_bytes(data)
    wanted = hashlib.sha256(data).hexdigest()
    port = _free_port()
    server = subprocess.Popen(_server(folder, port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(port)
        begun = time.monotonic()
        with ThreadPoolExecutor(clients) as pool:
            times = sorted(pool.map(lambda number: _fetch(port, wanted, begun), range(clients)))
        whole_s = time.monotonic() - begun
        used_s, rss = _cost(server.pid)
    finally:
        server.terminate()
        server.wait()
    name = "nginx" if shutil.which("nginx") else "Python's http.server"
    print(f"boot storm, {clients} clients, {size / 1e6:.0f} MB each, {name}, {os.cpu_count()} cores for server and clients:")
    rate = clients * size / whole_s / 1e6
    print(f"  first {times[0]:.1f} s, median {times[clients // 2]:.1f} s, last {times[-1]:.1f} s; {rate:.0f} MB/s")
    print(f"  server {used_s:.2f} s of a core, {used_s / whole_s:.0%} of one while it lasts; {rss / 1e6:.0f} MB")
    return 0


def _server(folder: Path, port: int) -> list[str]:
    if shutil.which("nginx"):
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
        folder.chmod(0o755)  # its workers are another user
        return ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    return [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(folder / "boot")]


def _fetch(port: int, wanted: str, begun: float) -> float:
    """Seconds from the beginning until all of it was there and right."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    line.request("GET", "/root")
    answer, digest = line.getresponse(), hashlib.sha256()
    while piece := answer.read(PIECE_BYTES):
        digest.update(piece)
    if digest.hexdigest() != wanted:
        raise SystemExit("a client got something else")
    return time.monotonic() - begun


def _cost(pid: int) -> tuple[float, int]:
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    used = sum(one.cpu_times().user + one.cpu_times().system for one in processes)
    return used, sum(one.memory_info().rss for one in processes)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait(port: int) -> None:
    end = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise SystemExit("the server does not listen") from None
            time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
