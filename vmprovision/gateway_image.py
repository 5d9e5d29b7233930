"""The shipped gateway image as a kind of diskless domain: packages, kernel modules, script. Its settings: gateways.py."""

from __future__ import annotations

from provision.domu import Kind
from provision.project import FILES
from vmprovision.gateways import files
from vmprovision.model import Gateway, Inventory

PACKAGES = ("nftables", "dnsmasq-base")  # ip is busybox's
# libcrc32c, which nf_tables needs, asks for crc32c by itself and names it nowhere
MODULES = ("crc32c_generic", "nf_tables", "nft_chain_nat", "nft_masq", "nft_ct", "nf_nat", "nf_conntrack")


def kind(one: Gateway, inventory: Inventory) -> Kind:
    return Kind(one.name, PACKAGES, MODULES, start=(FILES / "gateway").read_bytes(), own=files(one, inventory))
