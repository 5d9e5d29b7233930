"""Every key of provision.ini: its name, its check, what it says. Pure data; defaults stand in model.py."""

from __future__ import annotations

from common.config.keys import Key, Table
from common.config.tree import Shape
from vmprovision.checks import FUNCTIONS
from vmprovision.model import Gateway, Host, Image, Network, Profile, Server

SERVER = Table(
    "server",
    Server,
    (
        Key("address", "address()", "the address from which this machine serves DHCP, TFTP, HTTP and NFS", required=True),
        Key("folder", "path()", "all that is written lies below it, and nothing elsewhere"),
        Key("port", "whole(1, 65535)", "of the web server that serves FOLDER/boot"),
        Key("dhcp", "choice('dnsmasq', 'isc')", "whose configuration is written"),
        Key("nfs", "choice('kernel', 'ganesha')", "whose exports are written"),
        Key("nfs_port", "whole(1, 65535)", "where it listens"),
        Key("transfer", "choice('http', 'tftp')", "how GRUB gets Xen and the kernel; HTTP is faster"),
        Key("ipxe", "flag()", "cards with iPXE in them get its own script (BIOS alone), not GRUB"),
        Key("menu", "duration(0, 3600)", "how long the boot menu waits", ("menu_s",)),
        Key("release", "release()", "of Debian, for packages", default="this machine's"),
        Key("daemon", "word()", "the bus, as hosts reach it: `PORT@HOST`", default="4803 at `address`"),
        Key("managers", "path()", "a folder with the managers' public keys (`NAME.pub`), which hosts believe", default="none"),
        Key("images", "path()", "the image repository, as this machine sees it", default="none"),
    ),
    "The machine that others boot from.",
)

NETWORK = Table(
    "NAME",
    Network,
    (
        Key("subnet", "subnet()", "`192.0.2.0/24`", required=True),
        Key("vlan", "whole(0, 4094)", "its id on the trunk; 0: untagged"),
        Key(
            "bridge",
            "bridge()",
            "the bridge on every host",
            default="`xenbr0`; of VLAN 12 `xenbr0.12`, which vms.ini calls `xenbr0, vlan=12`",
        ),
        Key("gateway", "address()", "the way out of it", default="none"),
        Key("dns", "addresses()", "name servers", default="none"),
        Key("range", "address_range()", "addresses lent to who is not in this file, `first-last`", default="none"),
    ),
    "A network, untagged or a VLAN.",
)

PROFILE = Table(
    "NAME",
    Profile,
    (
        Key(
            "root",
            "choice('ram', 'nfs-flash', 'nfs-overlay')",
            "where the host's files are: `ram`: in memory, nothing needed after boot; `nfs-flash`: a shared read-only NFS "
            "root with links into memory; `nfs-overlay`: the same with an overlay in memory",
        ),
        Key("packages", "packages()", "Debian packages besides those of a dom0", default="none"),
        Key("modules", "words()", "kernel modules besides those of a dom0, such as the driver of a card", default="none"),
        Key("overlay", "path()", "a folder whose files are laid over the root", default="none"),
        Key("start", "path()", "a script that each host runs when all is there", default="none"),
        Key("from", "path()", "a folder or tarball that is the root, in place of packages", ("from_",), default="none"),
        Key("kernel", "path()", "a Linux kernel, in place of Debian's; with `from`", default="none"),
        Key("xen", "path()", "a Xen, in place of Debian's; with `from`", default="none"),
        Key("xen_options", "options()", "of Xen's command line"),
        Key("linux_options", "options()", "of the kernel's command line"),
        Key("serial", "flag()", "menu, Xen and kernel speak to the first serial port"),
        Key("verify", "flag()", "an NFS root's files are compared with their checksums at boot (RAM roots always are)"),
        Key("state", "state()", "a device for what must outlive a boot: the client's key, its journal", default="none"),
        Key("mounts", "mounts()", "NFS folders that a host mounts: `SERVER:/folder /place options`", default="none"),
        Key("client", "path()", "a vmclient.ini; name and groups are put in", default="one is made"),
    ),
    "What a host is made of.",
)

HOST = Table(
    "NAME",
    Host,
    (
        Key("mac", "mac()", "of the card it boots from", required=True),
        Key("address", "address()", "its address", required=True),
        Key("network", "word()", "the network of that address", default="the first untagged one"),
        Key("profile", "word()", "one of [profiles]", default="the only one"),
        Key("groups", "groups()", "its client's groups"),
        Key("networks", "hosts()", "the VLANs it has bridges for", default="all"),
        Key("state", "state()", "as in its profile", default="its profile's"),
    ),
    "A machine that boots.",
)

GATEWAY = Table(
    "NAME",
    Gateway,
    (
        Key("outside", "word()", "the network that leads out", required=True),
        Key("address", "address()", "its address there", required=True),
        Key("inside", "hosts()", "the networks behind it; it has each one's `gateway` as address", required=True),
        Key("nat", "flag()", "what comes from inside leaves with its address"),
        Key("dhcp", "flag()", "it lends addresses inside, where a network has a `range`"),
        Key("dns", "flag()", "it answers names inside"),
        Key("protect", "flag()", "it is restarted elsewhere when its host is proved dead, and never runs twice"),
        Key("memory", "size(67108864, 68719476736)", "of the VM"),
    ),
    "A VM that routes between networks.",
)

IMAGE = Table(
    "NAME",
    Image,
    (
        Key("packages", "packages()", "Debian packages besides busybox", default="none"),
        Key("modules", "words()", "kernel modules besides the network's", default="none"),
        Key("overlay", "path()", "a folder whose files are laid over", default="none"),
        Key("start", "path()", "a script that is kept running", default="none"),
        Key("cmdline", "options()", "of the kernel"),
        Key("note", "text(2048)", "for people", default="none"),
    ),
    "A diskless VM, published in the image repository.",
)

SHAPE = Shape(
    (SERVER,),
    below={"networks": NETWORK, "profiles": PROFILE, "hosts": HOST, "gateways": GATEWAY, "images": IMAGE},
    checks=FUNCTIONS,
)
