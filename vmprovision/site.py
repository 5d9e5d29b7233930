"""One inventory and its target folder: what a command works on. Reads the files that the inventory names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from configobj import ConfigObj

from provision.roots import Workshop
from vmprovision import plan
from vmprovision.model import Host, Inventory
from vmprovision.target import Target, TargetFault

KEY_FILES_MAX = 100


class Site:
    """`cache`: of packages and parts of images; by default below the target folder."""

    def __init__(self, inventory: Inventory, cache: Path | None = None) -> None:
        self.inventory = inventory
        self.target = Target(inventory.server.folder)
        self._cache = cache or self.target.folder / "cache"
        self._shop: Workshop | None = None

    @property
    def shop(self) -> Workshop:
        self._shop = self._shop or Workshop(self._cache, self.inventory.server.release)
        return self._shop

    def files(self) -> Mapping[str, bytes]:
        """All that `write` writes. Raises TargetFault, NothingBuilt."""
        clients = {host.name: text for host in self.inventory.hosts.values() if (text := self._client(host))}
        return plan.files(self.inventory, self.target.builds(), clients, self._managers())

    def _client(self, host: Host) -> str:
        """The site's own vmclient.ini with this host's name and groups in it; empty where its profile names none."""
        path = self.inventory.profiles[host.profile].client
        if path is None:
            return ""
        try:
            config = ConfigObj(str(path), interpolation=False, file_error=True, encoding="utf-8")
        except (OSError, SyntaxError, UnicodeDecodeError) as fault:
            raise TargetFault(f"{path}: {fault}") from None
        config.setdefault("client", {}).update({"name": host.name, "groups": list(host.groups)})
        lines = config.write()
        return "\n".join(line if isinstance(line, str) else line.decode() for line in lines or ()) + "\n"

    def _managers(self) -> dict[str, str]:
        """Public keys alone ever leave the folder. Raises TargetFault."""
        folder = self.inventory.server.managers
        found: dict[str, str] = {}
        for path in sorted(folder.glob("*.pub"))[:KEY_FILES_MAX] if folder else ():
            text = path.read_text()
            if "secret" in text or "PRIVATE" in text:
                raise TargetFault(f"{path} holds a private key, which no host may read")
            found[path.name] = text
        return found
