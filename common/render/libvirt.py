"""A domain's configuration as libvirt's domain XML (https://libvirt.org/formatdomain.html). Pure.

The driver (qemu, kvm, xen, test) is libvirt's name of the virtualization; Xen's PV and PVH have machines of their own.
"""

from __future__ import annotations

from xml.etree import ElementTree as xml

from common.hypervisor import Disk, DomainConfig, Network

_XEN_MACHINES = {"pv": ("xen", "xenpv"), "pvh": ("xenpvh", "xenpvh"), "hvm": ("hvm", "xenfv")}


def render(config: DomainConfig, driver: str, arch: str = "x86_64", console_log: str = "") -> str:
    """`console_log`: the file that the console is logged to.

    Raises ValueError for a configuration with `native`: libvirt reads no xl file."""
    if config.native:
        raise ValueError("a hand-written xl file cannot be used with libvirt")
    domain = xml.Element("domain", type=driver)
    _text(domain, "name", config.name)
    _text(domain, "uuid", config.uuid)
    _text(domain, "memory", str(config.ceiling_bytes // 1024), unit="KiB")
    _text(domain, "currentMemory", str(config.memory_bytes // 1024), unit="KiB")
    _text(domain, "vcpu", str(config.vcpus))
    _os(domain, config, driver, arch)
    _text(domain, "on_poweroff", "destroy")
    _text(domain, "on_reboot", "restart")
    _text(domain, "on_crash", "preserve")
    devices = xml.SubElement(domain, "devices")
    for disk in config.disks:
        _disk(devices, disk, "xvd" if driver == "xen" else "vd")
    for network in config.networks:
        _network(devices, network)
    _console(devices, driver, console_log)
    xml.indent(domain)
    return xml.tostring(domain, encoding="unicode") + "\n"


def _os(domain: xml.Element, config: DomainConfig, driver: str, arch: str) -> None:
    system = xml.SubElement(domain, "os")
    if driver == "xen":
        kind, machine = _XEN_MACHINES[config.type]
        _text(system, "type", kind, arch=arch, machine=machine)
    else:
        _text(system, "type", "hvm", arch=arch)
    for tag, value in (("kernel", config.kernel), ("initrd", config.initrd), ("cmdline", config.cmdline)):
        if value:
            _text(system, tag, value)
    if not config.kernel:
        xml.SubElement(system, "boot", dev="hd")


def _disk(devices: xml.Element, disk: Disk, own: str) -> None:
    """`own`: how the hypervisor's own disks are called; one definition is to run on every hypervisor."""
    block = disk.path.startswith("/dev/")
    one = xml.SubElement(devices, "disk", type="block" if block else "file", device="disk")
    xml.SubElement(one, "driver", name="qemu", type=disk.form)
    xml.SubElement(one, "source", {"dev" if block else "file": disk.path})
    device = own + disk.device.removeprefix("x").removeprefix("vd") if disk.device[0] in "xv" else disk.device
    xml.SubElement(one, "target", dev=device, bus=_bus(device))
    if disk.read_only:
        xml.SubElement(one, "readonly")


def _bus(device: str) -> str:
    return {"x": "xen", "v": "virtio", "s": "scsi", "h": "ide"}[device[0]]


def _network(devices: xml.Element, network: Network) -> None:
    one = xml.SubElement(devices, "interface", type="bridge")
    xml.SubElement(one, "mac", address=network.mac)
    xml.SubElement(one, "source", bridge=network.bridge_name)


def _console(devices: xml.Element, driver: str, log: str) -> None:
    console = xml.SubElement(devices, "console", type="pty")
    if log:
        xml.SubElement(console, "log", file=log, append="on")
    xml.SubElement(console, "target", type="xen" if driver == "xen" else "serial", port="0")


def _text(parent: xml.Element, tag: str, text: str, **attributes: str) -> None:
    xml.SubElement(parent, tag, attributes).text = text
