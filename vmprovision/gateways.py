"""Gateway VMs: their definition for vms.ini, and the files that make the common image this gateway. Texts only."""

from __future__ import annotations

from collections.abc import Iterator

from common.config.values import show_size
from vmprovision.model import Gateway, Inventory, Network

HEAD = "# Written by vmprovision: the gateways of provision.ini, to be put into vms.ini.\n"


def vms_ini(inventory: Inventory) -> str:
    """One section for each. The cards' order is what the VM goes by: eth0 is outside."""
    return HEAD + "".join(f"\n{_section(one, inventory)}" for one in inventory.gateways.values())


def _section(one: Gateway, inventory: Inventory) -> str:
    lines = [f"[{one.name}]", f"memory = {show_size(one.memory)}", f"image = {one.name}"]
    lines += [f'cmdline = "console=hvc0 quiet host={one.name}"']
    lines += ["protect = yes"] if one.protect else []
    lines += ["[[networks]]", *(f"eth{number} = {_card(network)}" for number, network in enumerate(cards(one, inventory)))]
    return "\n".join(lines) + "\n"


def _card(network: Network) -> str:
    """As vms.ini has it: the bridge of VLAN 12 on xenbr0 is xenbr0.12."""
    trunk, dot, vlan = network.bridge_name.rpartition(".")
    return f"{trunk}, vlan={vlan}" if dot and vlan == str(network.vlan) else network.bridge_name


def cards(one: Gateway, inventory: Inventory) -> list[Network]:
    """Outside first."""
    return [inventory.networks[one.outside], *(inventory.networks[name] for name in one.inside)]


def files(one: Gateway, inventory: Inventory) -> dict[str, str]:
    """Read by the image's init (provision/files/gateway)."""
    made = {
        "etc/vmherd-image/gateway": "\n".join(_settings(one, inventory)) + "\n",
        "etc/nftables.conf": nftables(one, inventory),
    }
    if one.dhcp or one.dns:
        made["etc/dnsmasq.conf"] = "\n".join(_dnsmasq(one, inventory)) + "\n"
    outside = inventory.networks[one.outside]
    made["etc/resolv.conf"] = "".join(f"nameserver {each}\n" for each in outside.dns)
    return made


def _settings(one: Gateway, inventory: Inventory) -> Iterator[str]:
    yield f"NAME={one.name}"
    outside, *inside = cards(one, inventory)
    pairs = [f"eth0={one.address}/{outside.subnet.prefixlen}"]
    pairs += [f"eth{number}={each.gateway}/{each.subnet.prefixlen}" for number, each in enumerate(inside, 1)]
    yield f"ADDRESSES='{' '.join(pairs)}'"
    way_out = outside.gateway if outside.gateway != one.address else None
    yield f"GATEWAY={way_out or ''}"


def nftables(one: Gateway, inventory: Inventory) -> str:
    """From inside to anywhere, from outside only answers; the inner networks see each other."""
    inside = ", ".join(f'"eth{number}"' for number in range(1, len(one.inside) + 1))
    text = (
        "flush ruleset\ntable inet vmherd {\n  chain forward {\n    type filter hook forward priority filter; policy drop;\n"
        f"    ct state established,related accept\n    iifname {{ {inside} }} accept\n  }}\n"
    )
    if one.nat:
        text += (
            "  chain postrouting {\n    type nat hook postrouting priority srcnat;\n"
            f'    oifname "eth0" iifname {{ {inside} }} masquerade\n  }}\n'
        )
    return text + "}\n"


def _dnsmasq(one: Gateway, inventory: Inventory) -> Iterator[str]:
    yield from ("keep-in-foreground", "bind-dynamic", "dhcp-authoritative", "leasefile-ro")
    yield from (f"interface=eth{number}" for number in range(1, len(one.inside) + 1))
    if not one.dns:
        yield "port=0"
    if not one.dhcp:
        return
    for name in one.inside:
        network = inventory.networks[name]
        if network.range:
            yield f"dhcp-range=set:{name},{network.range[0]},{network.range[1]},{network.subnet.netmask},1h"
            yield f"dhcp-option=tag:{name},option:router,{network.gateway}"
            servers = network.dns or ((network.gateway,) if one.dns else ())
            if servers:
                yield f"dhcp-option=tag:{name},option:dns-server,{','.join(map(str, servers))}"
