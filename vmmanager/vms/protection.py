"""What fail-over says to the part that orders VMs; here everything passes, failover/protection.py is the real one. Pure."""

from __future__ import annotations

from common.config.model import VmConfig


class Protection:
    """Asked before orders, and when the hosts' lists are read."""

    def gone(self, host: str, vm: str) -> bool:
        """Is it proved that this VM does not run on that host, whatever it listed last?"""
        return False

    def proof(self, host: str) -> str:
        """The sentence that proves it."""
        return ""

    def why_unknown(self, vm: VmConfig) -> str:
        """Why this leader cannot know yet where it runs."""
        return ""

    def why_not_start(self, vm: VmConfig) -> str:
        """Why it must not be started anywhere now, beyond what its record says."""
        return ""

    def why_not_on(self, host: str, vm: VmConfig) -> str:
        """Why this host must not be given it."""
        return ""

    def may_order(self) -> bool:
        """Has this manager authority?"""
        return True

    def holds_book(self, host: str, vm: str) -> bool:
        """Did the host itself say that it keeps this VM as a protected one?"""
        return False
