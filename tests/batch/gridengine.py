"""A Grid Engine of this machine's packages on made-up hosts: each a network namespace with a name and an address of its own.

Nothing of it is outside the namespaces and one folder; the last process takes the rest with it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from demo.processes import end_with_parent
from provision.programs import NotToBeHad

LIBRARY = Path("/usr/lib/gridengine")
SHARE = Path("/usr/share/gridengine")
PROGRAMS = ("sge_qmaster", "sge_execd", "spoolinit", "spooldefaults", "qconf", "qmod", "qstat", "qhost", "qsub")
HEAD = "head"
NET = "10.79.0"
START_S = 20.0
SLOTS = 2

BOOTSTRAP = """\
admin_user none
default_domain none
ignore_fqdn true
spooling_method classic
spooling_lib libspoolc
spooling_params {folder}/cell/default/common;{folder}/qmaster
binary_path /usr/lib/gridengine
qmaster_spool_dir {folder}/qmaster
security_mode none
listener_threads 2
worker_threads 2
scheduler_threads 1
jvm_threads 0
"""
# what a small impatient cluster wants otherwise than Debian's default configuration
GLOBAL = {
    "execd_spool_dir": "{folder}/execd", "min_uid": "0", "min_gid": "0", "gid_range": "20000-20100", "mailer": "/bin/true",
    "load_report_time": "00:00:02", "max_unheard": "00:00:10",
}  # fmt: skip
SCHEDULER = {"schedule_interval": "0:0:1", "flush_submit_sec": "1", "flush_finish_sec": "1"}
QUEUE = {
    "slots": str(SLOTS), "rerun": "TRUE", "load_thresholds": "NONE", "shell": "/bin/sh", "pe_list": "NONE", "ckpt_list": "NONE",
}  # fmt: skip


def missing() -> str:
    for program in PROGRAMS:
        if not (LIBRARY / program).exists():
            return f"{LIBRARY / program} is missing (packages gridengine-master, gridengine-exec, gridengine-client)"
    return next(
        (f"the program {program} is missing" for program in ("ip", "nsenter", "unshare") if not shutil.which(program)), ""
    )


class Cluster:
    """`nodes`: name -> queue. Its queue master runs; no node does. Use as a context manager."""

    def __init__(self, folder: Path, nodes: Mapping[str, str]) -> None:
        self.folder, self._nodes = folder, nodes
        self._holders: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Cluster:
        try:
            self._up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()

    def close(self) -> None:
        for node in reversed(self._holders):
            self._kill_all(node)
        for holder in self._holders.values():
            holder.kill()
            holder.wait()

    # --- made -----------------------------------------------------------------------------------------------------------

    def _up(self) -> None:
        names = {HEAD: 1, **{node: number for number, node in enumerate(self._nodes, 11)}}
        hosts = "".join(f"{NET}.{number} {name}\n" for name, number in names.items())
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}")
        bind = f"mount --bind {self.folder}/hosts /etc/hosts; hostname {HEAD}; exec sleep infinity"
        self._hold(HEAD, ["unshare", "--net", "--uts", "--mount", *_as_root(), "sh", "-c", bind])
        for words in (
            ("link", "set", "lo", "up"),
            ("link", "add", "br0", "type", "bridge", "forward_delay", "0"),
            ("address", "add", f"{NET}.1/24", "dev", "br0"),
            ("link", "set", "br0", "up"),
        ):
            self.said("ip", *words)
        for node in self._nodes:
            self._cable(node, names[node])
        self._configure()

    def _hold(self, name: str, argv: Sequence[str]) -> None:
        """A process that keeps the namespaces of `name`."""
        holder = subprocess.Popen(argv, stdin=subprocess.DEVNULL, preexec_fn=end_with_parent)
        self._holders[name] = holder

        def named() -> bool:
            asked = subprocess.run([*self.inside(name), "hostname"], capture_output=True, text=True, check=False)
            return asked.stdout.strip() == name

        self._wait(f"{name} has its namespaces", named)

    def _cable(self, node: str, number: int) -> None:
        self._hold(node, [*self.inside(HEAD), "unshare", "--net", "--uts", "sh", "-c", f"hostname {node}; exec sleep infinity"])
        end = f"end{number}"
        self.said("ip", "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", str(self._pid(node)))
        self.said("ip", "link", "set", end, "master", "br0", "up")
        for words in (
            ("link", "set", "lo", "up"),
            ("address", "add", f"{NET}.{number}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
        ):
            self.said("ip", *words, on=node)

    def _pid(self, name: str) -> int:
        """nsenter and unshare become what they start."""
        return self._holders[name].pid

    def inside(self, name: str) -> list[str]:
        """What to put before a command of this host."""
        user = ["--user", "--preserve-credentials"] if os.geteuid() else []
        return ["nsenter", f"--target={self._pid(name)}", *user, "--net", "--uts", "--mount", "--"]

    def _configure(self) -> None:
        common = self.folder / "cell" / "default" / "common"
        common.mkdir(parents=True)
        (self.folder / "qmaster" / "job_scripts").mkdir(parents=True)
        (self.folder / "execd").mkdir()
        (self.folder / "cell" / "util").symlink_to(SHARE / "util")
        (common / "bootstrap").write_text(BOOTSTRAP.format(folder=self.folder))
        (common / "act_qmaster").write_text(f"{HEAD}\n")
        parameters = f"{common};{self.folder}/qmaster"
        conf = self._changed((SHARE / "default-configuration").read_text(), GLOBAL)
        self.said("spoolinit", "classic", "libspoolc", parameters, "init")
        self.said("spooldefaults", "configuration", str(conf))
        for kind, folder in (("complexes", "centry"), ("usersets", "usersets")):
            self.said("spooldefaults", kind, str(SHARE / "util" / "resources" / folder))
        self.said("spooldefaults", "managers", "root")
        self._start(HEAD, "sge_qmaster")
        self._wait("the queue master answers", lambda: self._run("qconf", "-sconf").returncode == 0)
        self.said("qconf", "-Msconf", str(self._changed(self.said("qconf", "-ssconf"), SCHEDULER)))
        self.said("qconf", "-as", HEAD)
        for node in self._nodes:
            self.said("qconf", "-ah", node)
        template = self.said("qconf", "-sq")
        for queue in dict.fromkeys(self._nodes.values()):
            hosts = " ".join(node for node, its in self._nodes.items() if its == queue)
            self.said("qconf", "-Aq", str(self._changed(template, {"qname": queue, "hostlist": hosts, **QUEUE})))

    def _changed(self, text: str, values: Mapping[str, str]) -> Path:
        """A file of qconf's with these keys set otherwise."""
        lines = [line.split(None, 1) for line in text.splitlines() if line.strip() and not line.startswith("#")]
        pairs = {line[0]: line[1] if len(line) > 1 else "" for line in lines}
        pairs |= {key: value.format(folder=self.folder) for key, value in values.items()}
        path = self.folder / "change"
        path.write_text("".join(f"{key} {value}\n" for key, value in pairs.items()))
        return path

    # --- used -----------------------------------------------------------------------------------------------------------

    @property
    def environment(self) -> tuple[str, ...]:
        return (f"SGE_ROOT={self.folder}/cell", "SGE_CELL=default", "SGE_QMASTER_PORT=6444", "SGE_EXECD_PORT=6445", "SGE_ND=1")

    def start_node(self, node: str) -> None:
        """A machine without a disk: what ran there before is not known to it."""
        shutil.rmtree(self.folder / "execd" / node, ignore_errors=True)
        self._start(node, "sge_execd")

    def kill_node(self, node: str) -> None:
        self._kill_all(node)

    def submit(self, *words: str) -> str:
        return self.said("qsub", "-terse", "-o", "/dev/null", "-e", "/dev/null", *words).strip()

    def said(self, program: str, *words: str, on: str = HEAD) -> str:
        done = self._run(program, *words, on=on)
        if done.returncode:
            raise NotToBeHad(f"{program} {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def _run(self, program: str, *words: str, on: str = HEAD) -> subprocess.CompletedProcess[str]:
        path = str(LIBRARY / program) if (LIBRARY / program).exists() else program
        argv = [*self.inside(on), path, *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False, env=self._env(), timeout=60.0)

    def _start(self, node: str, daemon: str) -> None:
        with (self.folder / f"{node}.log").open("ab") as log:
            subprocess.Popen(
                [*self.inside(node), str(LIBRARY / daemon)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env(),
                start_new_session=True,
                preexec_fn=end_with_parent,
            )

    def _env(self) -> dict[str, str]:
        return {**os.environ, **dict(pair.split("=", 1) for pair in self.environment)}

    def _kill_all(self, node: str) -> None:
        holder = self._pid(node)
        for path in Path("/proc").iterdir():
            if path.name.isdigit() and int(path.name) != holder and _network(int(path.name)) == _network(holder) != "":
                try:
                    os.kill(int(path.name), signal.SIGKILL)
                except ProcessLookupError:
                    continue

    def _wait(self, what: str, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + START_S
        while not ready():
            if time.monotonic() > end:
                raise NotToBeHad(f"it is still not so that {what}")
            time.sleep(0.05)


def _network(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def _as_root() -> list[str]:
    return ["--user", "--map-root-user"] if os.geteuid() else []
