"""What was built, as the boot files need it: where one build's files lie, their checksums, which build a host has. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from vmprovision.model import Host

IMAGES = "images"  # below the boot folder: PROFILE/DIGEST/{xen,kernel,initrd,root}
NFS = "nfs"  # below the target folder: PROFILE/DIGEST/ is a root


@dataclass(frozen=True, slots=True)
class Build:
    """One build of a profile. `sums`: file -> SHA-256; of an NFS root, `root` is the list of its files' checksums."""

    profile: str
    digest: str
    sums: Mapping[str, str]

    @property
    def place(self) -> str:
        return f"{IMAGES}/{self.profile}/{self.digest}"

    def encoded(self) -> str:
        return json.dumps({"profile": self.profile, "digest": self.digest, "sums": dict(sorted(self.sums.items()))}) + "\n"

    @classmethod
    def decoded(cls, text: str) -> Build:
        """Raises ValueError."""
        found = json.loads(text)
        try:
            return cls(str(found["profile"]), str(found["digest"]), {str(k): str(v) for k, v in found["sums"].items()})
        except (KeyError, TypeError, AttributeError) as fault:
            raise ValueError(f"not a build: {fault}") from None


@dataclass(frozen=True, slots=True)
class Builds:
    """`current`: profile -> its newest build. `all`: (profile, digest) -> build. `chosen`: host -> digest, of hosts that were
    told one; they keep it until an update gives them another. `before`: host -> the digest that an undo gives back."""

    current: Mapping[str, str] = field(default_factory=dict)
    all: Mapping[tuple[str, str], Build] = field(default_factory=dict)
    chosen: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, str] = field(default_factory=dict)

    def of(self, host: Host) -> Build | None:
        """None where nothing was built for it."""
        chosen = self.all.get((host.profile, self.chosen.get(host.name, "")))
        return chosen or self.all.get((host.profile, self.current.get(host.profile, "")))

    def newest(self, host: Host) -> Build | None:
        return self.all.get((host.profile, self.current.get(host.profile, "")))
