"""What a client tells without being asked: readings gathered into one message, so many bytes a second. Pure."""

from __future__ import annotations

from common.protocol import PropList
from vmclient.events import Effect, Moment, Send
from vmclient.properties import NEVER, Properties, Property, said, size_bytes

TOGETHER_S = 0.25  # readings pushed while others are being read wait this long, to go out in one message


class Pushing:
    """`rate`: bytes a second. `at`: when there is something to do again, monotonic."""

    def __init__(self, rate: int, now: float) -> None:
        self.rate = float(rate)
        self.at = NEVER
        self._bytes = float(rate)
        self._mono = now

    def rest(self) -> list[Effect]:
        """Nobody hears us."""
        self.at = NEVER
        return []

    def due(self, properties: Properties, now: Moment) -> list[Effect]:
        """Sends what changed, as far as the rate goes; the rest waits, and only its newest value goes out."""
        unsent = properties.unsent()
        if not unsent:
            return self.rest()
        if self.at == NEVER:
            self.at = now.mono + TOGETHER_S
        if now.mono < self.at and any(one.reading for one in properties.by_name.values()):
            return []
        self._bytes = min(self.rate, self._bytes + self.rate * (now.mono - self._mono))
        self._mono = now.mono
        taken: list[Property] = []
        for one in unsent:
            if self._bytes <= 0:
                break
            self._bytes -= size_bytes(one.reading_at(now))
            one.unsent, one.told_mono = False, one.read_mono or -NEVER
            taken.append(one)
        self.at = NEVER if len(taken) == len(unsent) else now.mono + max(0.05, -self._bytes / self.rate)
        readings = tuple(one.reading_at(now) for one in taken)
        if not readings:
            return []
        return [Send(said(readings[0]) if len(readings) == 1 else PropList(readings=readings))]
