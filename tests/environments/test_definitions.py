"""environments.ini: each fault is told with file, line and key, all at once; and the VMs that come of a good one."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.config.model import ConfigurationError
from tests.environments.farm import VMS, configured
from vmmanager.__main__ import load
from vmmanager.environments.places import Place, machine, node_name, places

HEAD = "[environments]\nhead = head\nhosts = wn1, wn2, wn3\n"


def faults(folder: Path, text: str, vms: str = VMS) -> list[str]:
    with pytest.raises(ConfigurationError) as wrong:
        configured(folder, text=text, vms=vms)
    return [str(fault).removeprefix(f"{folder}/") for fault in wrong.value.faults]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[a]\nqueue = x\n", "template: is missing"),
        ("[a]\ntemplate = nobody\nqueue = x\n", "'nobody': no such template in vms.ini (there are worker4, worker5)"),
        ("[a]\ntemplate = plain\nqueue = x\n", "'plain' is a VM of its own"),
        ("[a]\ntemplate = disk\nqueue = x\n", "each VM made after disk would write /dev/vg0/scratch"),
        ("[a]\ntemplate = worker4\n", "says nothing of how the batch system knows its jobs"),
        (
            "[a]\ntemplate = worker4\nqueue = x\n[b]\ntemplate = worker5\nqueue = y, x\n",
            "the jobs of queue x belong to a already",
        ),
        ("[a]\ntemplate = worker4\nqueue = x\nmin = 4\n", "the minima of all environments are 4 slots, and there are 3"),
        ("[a]\ntemplate = worker4\nqueue = x\nmin = 2\nhosts = wn1\n", "2 slots cannot be had: its hosts have 1"),
        ("[a]\ntemplate = worker4\nqueue = x\nmin = 2\nmax = 1\n", "max: is below min, 2"),
        ("[a]\ntemplate = worker4\nqueue = x\nhosts = wn7\n", "'wn7' matches no host of [environments]"),
        (
            "[a]\ntemplate = worker4\nqueue = x\nreserved = wn1\n[b]\ntemplate = worker5\nqueue = y\nreserved = wn1\n",
            "'wn1' is reserved for a already",
        ),
        ("[a]\ntemplate = worker4\nqueue = x\nnode = $vmm\n", "'vmm' is none of $vm, $host"),
        ("[a]\ntemplate = worker4\nqueue = x\nnode = worker\n", "would be the name of every VM"),
        ("[a]\ntemplate = worker4\nqueue = x\nslots_per_host = 2\nnode = $short\n", "the VMs on one host would have one name"),
        ("[a-b]\ntemplate = worker4\nqueue = x\n", "'a-b' is no name of an environment"),
        ("[a]\ntemplate = worker4\nquue = x\n", "no such key (did you mean queue?)"),
    ],
)
def test_each_fault_is_one_clear_error(tmp_path: Path, text: str, fault: str) -> None:
    disk = "[disk]\ntemplate = yes\nmemory = 1G\nkernel = /k\n[[disks]]\nxvda = /dev/vg0/scratch\n"
    more = f"[plain]\nmemory = 1G\nkernel = /k\n{disk}"
    told = faults(tmp_path, HEAD + text, VMS if "no such template" in fault else VMS + more)
    assert any(fault in one for one in told), told
    assert all(one.startswith("environments.ini:") for one in told)


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    told = faults(tmp_path, "[environments]\nhosts = wn1\npause = 8h\n[a]\nqueue = x\n[b]\ntemplate = worker4\nqueue = x\n")
    assert len(told) == 4, told  # no head, pause above pause_max, no template, one queue for two


def test_a_policy_of_the_operators_own_is_checked_before_it_runs(tmp_path: Path) -> None:
    text = HEAD + "policy = expression\nexpr = { env.waiting + nobody }\n[a]\ntemplate = worker4\nqueue = x\n"
    configured(tmp_path, text=text)
    with pytest.raises(ConfigurationError, match=r"environments.ini:5.*nobody"):
        load(tmp_path / "vmmanager.ini")


def test_a_vm_of_a_slot_is_made_after_the_template(tmp_path: Path) -> None:
    vms = (
        "[worker4]\ntemplate = yes\nmemory = 1G\nkernel = /k\ncmdline = name=$vm\n[[networks]]\neth0 = xenbr0\n"
        "[[disks]]\nxvda = /dev/vg0/$vm\n"
    )
    keys = "template = worker4\nqueue = x\nnode = $environment-$short-$slot\nslots_per_host = 2\n"
    text = f"[environments]\nhead = head\n[a]\n{keys}"
    config = configured(tmp_path, text=text, vms=vms)
    (one,) = config.environments.defined
    first, second = places(config.environments, ("wn1.example.org",))
    assert (first, second) == (Place("wn1.example.org"), Place("wn1.example.org", 2))
    made = [machine(config.vms[0], "a", place) for place in (first, second)]
    assert [vm.name for vm in made] == ["a-wn1.example.org", "a-wn1.example.org-2"]
    assert [vm.disks[0].path for vm in made] == ["/dev/vg0/a-wn1.example.org", "/dev/vg0/a-wn1.example.org-2"]
    assert made[0].cmdline == "name=a-wn1.example.org"
    assert made[0].networks[0].mac != made[1].networks[0].mac
    assert {vm.hosts for vm in made} == {("wn1.example.org",)}
    assert node_name(one, second) == "a-wn1-2"
