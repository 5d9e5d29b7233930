"""What a manager sends with an order is what vms.ini said, and nothing else is taken."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config.model import VmConfig, Where
from common.config.vms import domain_config, own_mac
from common.definition import from_wire, to_wire
from common.hypervisor import Disk, Network
from common.value import plain

MIB = 1024 * 1024
GOOD: dict[str, Any] = {"memory_bytes": 128 * MIB, "kernel": "/boot/vmlinuz"}
_line = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20)
_path = st.text("abc /.,=\"'\\é", min_size=1, max_size=12).map(lambda text: f"/{text}x")


@st.composite
def _vms(draw: st.DrawFn) -> VmConfig:
    """Any VM that vms.ini could say."""
    name = draw(st.from_regex(r"[a-z][a-z0-9.+-]{0,20}[a-z]", fullmatch=True))
    memory = draw(st.integers(16, 16 * 1024**2)) * MIB
    boot = draw(st.sampled_from(["kernel", "image", "native", "disk"]))
    cards = () if boot == "native" else draw(st.lists(st.integers(0, 4094), max_size=3))
    devices = () if boot == "native" else draw(st.sets(st.sampled_from(["xvda", "vdb", "sda1", "hdc"]), min_size=1))
    disks = tuple(
        Disk(one, draw(_path), draw(st.booleans()), draw(st.sampled_from(["raw", "qcow2"]))) for one in sorted(devices)
    )
    return VmConfig(
        name=name,
        where=Where(f"definition of {name}"),
        memory_bytes=memory,
        memory_max_bytes=draw(st.sampled_from([0, 16 * 1024**2 * MIB])),
        vcpus=draw(st.integers(1, 512)),
        type="pvh" if boot == "native" else "hvm" if boot == "disk" else draw(st.sampled_from(["pv", "pvh", "hvm"])),
        image=draw(st.sampled_from(["debian", "debian@12-3"])) if boot == "image" else "",
        kernel=draw(_path) if boot == "kernel" else "",
        initrd=draw(st.just("") | _path) if boot == "kernel" else "",
        cmdline="" if boot == "native" else draw(_line),
        native=draw(_path) if boot == "native" else "",
        networks=tuple(Network("xenbr0", own_mac(name, f"eth{at}"), vlan) for at, vlan in enumerate(cards)),
        disks=disks,
    )


@given(_vms())
def test_a_vm_comes_as_it_was_sent(vm: VmConfig) -> None:
    sent = to_wire(vm)
    assert plain(sent) == sent
    assert from_wire(vm.name, json.loads(json.dumps(sent))) == vm


def test_where_and_when_it_runs_stays_with_the_manager() -> None:
    vm = from_wire("mail1", GOOD)
    assert to_wire(replace(vm, hosts=("xen1",), priority=7, group="mail", restart="always")) == to_wire(vm)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("--help", {}, "is no name of a domain"),
        ("7", {}, "is a number"),
        ("mail1--incoming", {}, "being moved"),
        ("mail1", {"memory_bytes": "much"}, "Expected `int`, got `str` - at `$.memory_bytes`"),
        ("mail1", {"memory_bytes": True}, "Expected `int`, got `bool` - at `$.memory_bytes`"),
        ("mail1", {"memory_bytes": 128 * MIB + 1}, "memory: 134217729 is no whole number of M"),
        ("mail1", {"memory_bytes": -1}, "`$.memory_bytes`"),
        ("mail1", {"memory_max_bytes": 16 * MIB}, "memory_max: is below memory"),
        ("mail1", {"vcpus": 0}, "`$.vcpus`"),
        ("mail1", {"type": "container"}, "`$.type`"),
        ("mail1", {"kernel": ""}, "has nothing to boot from"),
        ("mail1", {"kernel": "boot/vmlinuz"}, "`$.kernel`"),
        ("mail1", {"kernel": '/boot/x"\non_crash = "restart'}, "`$.kernel`"),
        ("mail1", {"cmdline": "a\0b"}, "`$.cmdline`"),
        ("mail1", {"image": "debian"}, "kernel: there is an image, debian, already"),
        ("mail1", {"kernel": "", "image": "de\u0301,bian"}, "image: "),
        ("mail1", {"native": "/etc/xen/mail1.cfg"}, "kernel: is for the file that config names to say"),
        ("mail1", {"networks": {"eth0": "xenbr0"}}, "`$.networks`"),
        ("mail1", {"networks": [{"bridge": "xenbr0,script=/tmp/x", "mac": own_mac("a", "b")}]}, "is no name of a bridge"),
        ("mail1", {"networks": [{"bridge": "xenbr0", "mac": "00:16:3e:00:00:01,x=y"}]}, "is no address of a card"),
        ("mail1", {"networks": [{"bridge": "xenbr0", "mac": "01:16:3e:00:00:01"}]}, "is an address of many"),
        ("mail1", {"networks": [{"bridge": "xenbr0", "mac": own_mac("a", "b"), "vlan": 5000}]}, "5000 is too large"),
        ("mail1", {"networks": [{"bridge": "b" * 15, "mac": own_mac("a", "b"), "vlan": 12}]}, "more than 15 characters"),
        ("mail1", {"disks": [{"device": "xvda,x", "path": "/d"}]}, "is no name of a disk"),
        ("mail1", {"disks": [{"device": "xvda", "path": "d"}]}, "`$.disks[0].path`"),
        ("mail1", {"disks": [{"device": "xvda", "path": "/a"}, {"device": "xvda", "path": "/b"}]}, "the same device"),
        ("mail1", {"disks": [{"device": "xvda", "path": "/d", "form": "vhd"}]}, "`$.disks[0].form`"),
        ("mail1", {"disks": [None] * 1001}, "`$.disks`"),
    ],
)
def test_what_is_not_right_is_refused_with_one_sentence(name: str, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        from_wire(name, {**GOOD, **change})
    assert said in str(caught.value)


def test_what_a_newer_manager_adds_is_passed_over() -> None:
    assert from_wire("mail1", {**GOOD, "watchdog": "i6300esb"}) == from_wire("mail1", GOOD)


_fields = st.sampled_from([*to_wire(from_wire("mail1", GOOD)), "x"])
_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda one: st.lists(one) | st.dictionaries(_fields, one),
)


@given(st.text(max_size=10), st.dictionaries(_fields, _anything))
def test_whatever_comes_is_a_vm_that_can_be_started_or_refused(name: str, definition: dict[str, Any]) -> None:
    for given_name in (name, "mail1"):
        with contextlib.suppress(ValueError):
            vm = from_wire(given_name, {**GOOD, **definition})
            assert from_wire(given_name, to_wire(vm)) == vm
            assert vm.image or domain_config(vm).memory_bytes == vm.memory_bytes
