"""A definition as the hypervisors read it: golden files, and texts that try to break out of their quotes.

`REWRITE=1 pytest tests/hypervisors/test_render.py` writes the golden files anew; the commit explains the difference."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.hypervisor import Disk, DomainConfig, Network, is_ours, mark, plain_name
from common.render import libvirt, xl

GOLDEN = Path(__file__).parent / "golden"
MIB = 1024 * 1024
FULL = DomainConfig(
    "mail1",
    memory_bytes=512 * MIB,
    memory_max_bytes=1024 * MIB,
    vcpus=2,
    kernel="/boot/vmlinuz",
    initrd="/boot/initrd.img",
    cmdline='root=/dev/xvda quiet="<yes> & no" back\\slash',
    networks=(Network("xenbr0", "00:16:3e:00:00:01", 12), Network("br1", "00:16:3e:00:00:02")),
    disks=(Disk("xvda", "/dev/vg0/mail1"), Disk("xvdb", "/srv/a, b.qcow2", True, "qcow2")),
)
RENDERED = {
    "mail1.cfg": xl.render(FULL),
    "mail1-xen.xml": libvirt.render(FULL, "xen"),
    "mail1-kvm.xml": libvirt.render(FULL, "kvm", console_log="/var/log/vmherd/mail1.log"),
}
_text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]))


@pytest.mark.parametrize("name", sorted(RENDERED))
def test_a_definition_is_rendered_as_in_the_golden_file(name: str) -> None:
    if os.environ.get("REWRITE"):
        (GOLDEN / name).write_text(RENDERED[name])
    assert (GOLDEN / name).read_text() == RENDERED[name]


@given(_text)
def test_no_text_breaks_out_of_its_quotes_in_an_xl_file(text: str) -> None:
    config = xl.render(DomainConfig("a", 16 * MIB, kernel="/k", cmdline=text, disks=(Disk("xvda", "/" + text),)))
    values = dict(line.split(" = ", 1) for line in config.splitlines())
    assert ast.literal_eval(values.get("cmdline", '""')) == text
    (disk,) = ast.literal_eval(values["disk"])
    assert disk.partition("target=")[2] == "/" + text


@given(_text.filter(lambda text: not {"\ufffe", "\uffff"} & set(text)))
def test_no_text_breaks_out_of_its_element_in_xml(text: str) -> None:
    root = xml.fromstring(
        libvirt.render(DomainConfig("a", 16 * MIB, kernel="/k", cmdline=text, disks=(Disk("vda", "/" + text),)), "kvm")
    )
    assert root.findtext("os/cmdline", "") == text
    source = root.find("devices/disk/source")
    assert source is not None
    assert source.get("file", source.get("dev")) == "/" + text


def test_a_hand_written_file_is_not_for_libvirt() -> None:
    with pytest.raises(ValueError, match="cannot be used with libvirt"):
        libvirt.render(DomainConfig("a", 16 * MIB, native="/etc/xen/a.cfg"), "xen")


@given(st.text(min_size=1), st.text(min_size=1))
def test_the_mark_belongs_to_one_name(one: str, other: str) -> None:
    assert is_ours(other, mark(one)) == (plain_name(other) == one)
    assert is_ours(one, mark(plain_name(one)).upper())
