"""Which managers this client believes: key files in <state>/managers and local_keys, and the first one seen where allowed.

Reads files; decides nothing about messages (common/envelope.py does). docs/design/0003 says who trusts whom.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from common.config.model import ClientConfig
from common.envelope import introduced
from common.keys import KeyFault, Keyring, add_manager, fingerprint, load_managers, scan_local

RESCAN_EVERY_S = 2.0  # an unknown sender makes us look into the folders again, at most this often

Say = Callable[[str, str], None]


class Trust:
    """`ring` is what the envelope asks. `say(text, level)` logs."""

    def __init__(self, config: ClientConfig, say: Say) -> None:
        """Raises KeyFault: a key file that somebody else could have written."""
        self.ring = Keyring()
        self._say = say
        self._refused: tuple[str, ...] = ()
        self._scanned_mono = 0.0
        self.configure(config)

    def configure(self, config: ClientConfig) -> None:
        """Reads the folders again; a manager whose file is gone is believed no longer. Raises KeyFault, and changes nothing."""
        trusted = load_managers(_folder(config))
        self._config = config
        local = self._local()
        for known in self.ring.items():
            if known.name not in trusted and known.name not in local:
                self.ring.remove(known.name)
                self._say(f"manager {known.name}: trusted -> unknown (its key file is gone)", "warning")
        self._take(local | trusted)

    def unknown(self, data: bytes, mono: float) -> bool:
        """An envelope by an unknown key came; True when its sender is believed from now on, so that it can be opened again."""
        before = self.ring.items()
        if mono - self._scanned_mono >= RESCAN_EVERY_S:
            self._scanned_mono = mono
            try:
                self.configure(self._config)
            except KeyFault as fault:
                self._say(str(fault), "error")
        if self._config.accept_managers == "first" and not self.ring.items():
            self._accept_first(data)
        return self.ring.items() != before

    def _accept_first(self, data: bytes) -> None:
        """safety: only a hello that says it is a manager's, and only while no manager is known at all."""
        found = introduced(data)
        if found is None or found[2].values.get("role") != "manager":
            return
        name, raw, _ = found
        try:
            path = add_manager(_folder(self._config), name, raw)
            self._take({name: raw})
        except KeyFault as fault:
            self._say(f"manager {name}: not trusted: {fault}", "error")
            return
        self._say(f"manager {name}: the first ever seen, trusted from now on: {fingerprint(raw)} ({path})", "warning")

    def _take(self, keys: dict[str, bytes]) -> None:
        for name, raw in sorted(keys.items()):
            known = self.ring.get(name)
            if known is None or known.raw != raw:
                self.ring.set(name, raw, "manager", "accepted")
                self._say(f"manager {name}: trusted, key {fingerprint(raw)}", "info")

    def _local(self) -> dict[str, bytes]:
        if self._config.paths.local_keys is None:
            return {}
        found = scan_local(self._config.paths.local_keys)
        if found.refused != self._refused:
            self._refused = found.refused
            for text in found.refused:
                self._say(text, "warning")
        return {name: raw for name, raw, role in found.accepted if role == "manager"}


def _folder(config: ClientConfig) -> Path:
    return config.paths.state / "managers"
