"""A real Grid Engine in a folder: its master and its hosts in namespaces of their own, for a host is known by its name.

Nothing of it touches a Grid Engine that this machine may have: own cell, own network, own /etc/hosts.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from demo.processes import end_with_parent

PROGRAMS = Path("/usr/lib/gridengine")
RESOURCES = Path("/usr/share/gridengine")
HEAD = "head"
NET = "10.79.0"
SLOTS = 2
START_S = 20.0
POLL_S = 0.05
SCHEDULER = {"schedule_interval": "0:0:1", "flush_submit_sec": "1", "flush_finish_sec": "1", "job_load_adjustments": "NONE"}


class NotToBeHad(Exception):
    """Grid Engine cannot be run here, and why."""


def missing() -> str:
    """Why it cannot be run here; empty: it can."""
    if absent := [name for name in ("sge_qmaster", "sge_execd", "qstat") if not (PROGRAMS / name).exists()]:
        return f"{', '.join(absent)}: not installed (Debian: gridengine-master gridengine-exec gridengine-client)"
    if absent := [name for name in ("ip", "unshare", "nsenter") if not shutil.which(name)]:
        return f"the programs {', '.join(absent)} are missing (iproute2, util-linux)"
    if os.geteuid():
        return "only root can make hosts of Grid Engine (namespaces for network and names)"
    if subprocess.run(["unshare", "-m", "-n", "-u", "true"], capture_output=True, check=False).returncode:
        return "no namespaces can be made here"
    return ""


class GridEngineCluster:
    """`nodes`: host -> queue. Use as a context manager. Raises NotToBeHad."""

    def __init__(self, folder: Path, nodes: Mapping[str, str]) -> None:
        if why := missing():
            raise NotToBeHad(why)
        self.folder, self.nodes = folder, nodes
        self._holders: dict[str, subprocess.Popen[bytes]] = {}
        ports = {"SGE_QMASTER_PORT": "6444", "SGE_EXECD_PORT": "6445"}
        self.settings = {"SGE_ROOT": str(folder / "root"), "SGE_CELL": "lab", **ports}

    def __enter__(self) -> GridEngineCluster:
        try:
            self._files()
            self._network()
            self._master()
            self._queues()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def inside(self, machine: str) -> list[str]:
        """What to put before a command, so that it runs there."""
        return ["nsenter", "-m", "-n", "-u", "-t", str(self._holders[machine].pid), "--"]

    def said(self, *argv: str, on: str = HEAD, text: str = "") -> str:
        """What the command prints; a fault of the test where it fails."""
        done = self._run(*argv, on=on, text=text)
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def _run(self, *argv: str, on: str = HEAD, text: str = "") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **self.settings}
        words = [*self.inside(on), *argv]
        return subprocess.run(words, input=text, env=environment, capture_output=True, text=True, check=False, timeout=60)

    def start_node(self, host: str) -> None:
        self.said(str(PROGRAMS / "sge_execd"), on=host)

    def kill_node(self, host: str) -> None:
        """With all that runs there."""
        holder = self._holders[host].pid
        wanted = _namespace(holder)
        for path in Path("/proc").glob("[0-9]*"):
            if int(path.name) != holder and _namespace(int(path.name)) == wanted:
                os.kill(int(path.name), signal.SIGKILL)

    def _files(self) -> None:
        root, spool = self.folder / "root", self.folder / "spool"
        for folder in (root / "lab/common", spool / "db", spool / "master/job_scripts", spool / "hosts"):
            folder.mkdir(parents=True)
        for name in ("bin", "lib", "util", "utilbin"):
            (root / name).symlink_to(Path("/var/lib/gridengine") / name)
        (root / "lab/common/bootstrap").write_text(_BOOTSTRAP.format(root=root, spool=spool, programs=PROGRAMS))
        (root / "lab/common/act_qmaster").write_text(f"{HEAD}\n")
        numbered = "".join(f"{NET}.{number} {host}\n" for number, host in enumerate(self.nodes, 11))
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost\n{NET}.1 {HEAD}\n{numbered}")
        wanted = {"execd_spool_dir": f"{spool}/hosts", "min_uid": "0", "min_gid": "0", "mailer": "/bin/true"}
        wanted |= {"load_report_time": "00:00:01", "max_unheard": "00:00:05"}
        (self.folder / "configuration").write_text(_changed((RESOURCES / "default-configuration").read_text(), wanted))

    def _network(self) -> None:
        self._holder(HEAD, ["unshare", "-m", "-n", "-u", "--propagation", "private"])
        self.said("mount", "--bind", str(self.folder / "hosts"), "/etc/hosts")
        self.said("hostname", HEAD)
        for words in (
            "link set lo up",
            "link add ge0 type bridge forward_delay 0 stp_state 0",
            f"address add {NET}.1/24 dev ge0",
            "link set ge0 up",
        ):
            self.said("ip", *words.split())
        for number, host in enumerate(self.nodes, 11):
            self._holder(host, [*self.inside(HEAD), "unshare", "-n", "-u"])
            peer = str(self._holders[host].pid)
            self.said("ip", *f"link add ge{number} type veth peer name eth0 netns {peer}".split())
            self.said("ip", *f"link set ge{number} master ge0 up".split())
            self.said("hostname", host, on=host)
            for words in ("link set lo up", f"address add {NET}.{number}/24 dev eth0", "link set eth0 up"):
                self.said("ip", *words.split(), on=host)

    def _holder(self, machine: str, argv: list[str]) -> None:
        holder = subprocess.Popen([*argv, "sleep", "infinity"], preexec_fn=end_with_parent)
        self._holders[machine] = holder
        others = {_namespace(os.getpid()), *(_namespace(one.pid) for one in self._holders.values() if one is not holder)}
        wait(f"{machine} has a network", lambda: _namespace(holder.pid) not in others)

    def _master(self) -> None:
        for words in (
            ("spoolinit", "classic", "libspoolc", f"{self.folder}/root/lab/common;{self.folder}/spool/db", "init"),
            ("spooldefaults", "configuration", str(self.folder / "configuration")),
            ("spooldefaults", "complexes", str(RESOURCES / "util/resources/centry")),
            ("spooldefaults", "usersets", str(RESOURCES / "util/resources/usersets")),
            ("spooldefaults", "managers", "root"),
            ("sge_qmaster",),
        ):
            self.said(str(PROGRAMS / words[0]), *words[1:])
        wait("the master answers", lambda: self._run("qconf", "-sh").returncode == 0)

    def _queues(self) -> None:
        for host in self.nodes:
            self.said("qconf", "-ah", host)
            self._configure("-Ae", _HOST.format(host=host, slots=SLOTS))
        self.said("qconf", "-as", HEAD)
        for queue in sorted(set(self.nodes.values())):
            there = " ".join(host for host, of in self.nodes.items() if of == queue)
            wanted = {"qname": queue, "hostlist": there, "slots": str(SLOTS), "rerun": "TRUE", "pe_list": "NONE"}
            wanted |= {"shell": "/bin/sh", "load_thresholds": "NONE", "qtype": "BATCH"}
            self._configure("-Aq", _changed(self.said("qconf", "-sq"), wanted))
        self._configure("-Msconf", _changed(self.said("qconf", "-ssconf"), SCHEDULER))

    def _configure(self, option: str, text: str) -> None:
        (self.folder / "form").write_text(text)
        self.said("qconf", option, str(self.folder / "form"))

    def close(self) -> None:
        for machine, holder in reversed(self._holders.items()):
            self.kill_node(machine)
            holder.kill()
            holder.wait()
        self._holders.clear()


def wait(what: str, ready: Callable[[], object]) -> None:
    end = time.monotonic() + START_S
    while not ready():
        assert time.monotonic() < end, f"after {START_S:.0f} s it is still not so that {what}"
        time.sleep(POLL_S)


def _namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def _changed(form: str, wanted: Mapping[str, str]) -> str:
    """A form of Grid Engine, a key and its value a line, with other values."""
    keys = [line.split(maxsplit=1)[0] if line.strip() else "" for line in form.splitlines()]
    lines = zip(keys, form.splitlines(), strict=True)
    return "".join(f"{key} {wanted[key]}\n" if key in wanted else f"{line}\n" for key, line in lines)


_BOOTSTRAP = """\
admin_user none
default_domain none
ignore_fqdn true
spooling_method classic
spooling_lib libspoolc
spooling_params {root}/lab/common;{spool}/db
binary_path {programs}
qmaster_spool_dir {spool}/master
security_mode none
listener_threads 1
worker_threads 1
scheduler_threads 1
"""
_HOST = """\
hostname {host}
load_scaling NONE
complex_values slots={slots}
user_lists NONE
xuser_lists NONE
projects NONE
xprojects NONE
usage_scaling NONE
report_variables NONE
"""
