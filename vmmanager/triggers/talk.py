"""How much one trigger may say in the log and the event history. Knows no trigger."""

from __future__ import annotations

TALK_MAX = 60  # sentences at once
TALK_PER_S = 0.5  # and from then on


class Talk:
    """A bucket of sentences."""

    __slots__ = ("_at", "_left", "_suppressed")

    def __init__(self) -> None:
        self._left = float(TALK_MAX)
        self._at = 0.0
        self._suppressed = 0

    def take(self, mono: float) -> int | None:
        """How many were left out before this one; None: leave out this one too."""
        self._left = min(TALK_MAX, self._left + max(0.0, mono - self._at) * TALK_PER_S)
        self._at = mono
        if self._left < 1:
            self._suppressed += 1
            return None
        self._left -= 1
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed
