"""What the boot lab is configured with: the inventory, its virtual machines, the daemons' files. Texts only."""

from __future__ import annotations

from bootlab.machines import MACHINES
from xenlab import network
from xenlab.files import PATIENT, common

MANAGER = "mgr1"
LEASE_S = 12
DOMAIN_WORDS = "console=hvc0 quiet mitigations=off"
XEN_WORDS = "dom0_mem=640M,max:640M dom0_max_vcpus=1 no-real-mode spec-ctrl=no xpti=no ucode=no sched=credit watchdog=0"
LABEL = "vmherd"  # of each machine's disk for its keys
VLAN, VLAN_NET = 12, "10.78.0"

PROVISION = """\
[server]
address = {address}
folder = boot
nfs = ganesha
menu = 1s
managers = managers
images = images
[networks]
[[lab]]
subnet = {net}.0/{bits}
[[physics]]
subnet = {vlan_net}.0/24
vlan = {vlan}
gateway = {vlan_net}.1
range = {vlan_net}.100-{vlan_net}.199
[profiles]
[[ram]]
{common}
[[shared]]
root = nfs-flash
{common}
[[layered]]
root = nfs-overlay
verify = no
{common}
[hosts]
{hosts}
[gateways]
[[gw1]]
outside = lab
address = {net}.9
inside = physics
[images]
[[tiny]]
"""
PROFILE = """\
serial = yes
xen_options = "{xen}"
linux_options = console=hvc0 mitigations=off quiet
state = LABEL={label}
mounts = "{address}:/images /srv/images ro"
overlay = overlay"""
HOST = """\
[[{name}]]
mac = {mac}
address = {address}
profile = {profile}
"""

MANAGER_INI = """\
[manager]
name = {name}
grace = 1
silent_after = 20
stale_factor = 10
refresh = 10
request_timeout = 30
{common}state = state
run = run
images = ../images
[failover]
{failover}"""

VMS_INI = """\
[web1]
memory = 96M
image = tiny
cmdline = "{words} host=web1 ip4={net}.101/{bits}"
[[networks]]
eth0 = xenbr0

[inside1]
memory = 96M
image = tiny
cmdline = "{words} host=inside1 dhcp ping={server}"
[[networks]]
eth0 = xenbr0, vlan={vlan}
"""


def provision_ini() -> str:
    profile = PROFILE.format(xen=XEN_WORDS, label=LABEL, address=network.MANAGER)
    hosts = "".join(
        HOST.format(name=name, mac=one.mac, address=network.address(one.number), profile=one.profile)
        for name, one in MACHINES.items()
    )
    return PROVISION.format(
        address=network.MANAGER,
        net=network.NET,
        bits=network.BITS,
        vlan=VLAN,
        vlan_net=VLAN_NET,
        common=profile,
        hosts=hosts,
    )


def manager_ini() -> str:
    return MANAGER_INI.format(name=MANAGER, common=common(), failover=PATIENT.format(lease_s=LEASE_S))


def vms_ini() -> str:
    return VMS_INI.format(words=DOMAIN_WORDS, net=network.NET, bits=network.BITS, vlan=VLAN, server=network.MANAGER)
