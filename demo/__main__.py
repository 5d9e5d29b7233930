"""`make demo` and `make run`: shows the farm, or leaves it running. Ends with `demo: OK`, or says what went wrong."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from demo.files import Missing
from demo.processes import Failed, Farm
from demo.show import Show
from demo.story import demo, run

INTERRUPTED = 130


def main(words: list[str]) -> int:
    """0: went well, 1: it did not, 130: Ctrl-C."""
    if words not in ([], ["demo"], ["run"]):
        print("usage: python -m demo [demo|run]", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ended)
    show = Show()
    try:
        with Farm() as farm:
            try:
                if words == ["run"]:
                    run(farm, show)
                summary = demo(farm, show)
            except (Failed, Missing) as failure:
                show.settle()
                return _failed(show, str(failure), farm.tails())
            finally:
                show.settle()
    except KeyboardInterrupt:
        show.plain()
        show.plain("interrupted; everything is stopped and removed")
        return 0 if words == ["run"] else INTERRUPTED
    show.plain()
    show.plain(f"demo: OK - {summary}", "bold green")
    return 0


def _ended(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _failed(show: Show, text: str, tails: str) -> int:
    show.plain()
    show.plain(tails)
    show.plain(f"demo: FAILED - {text}", "bold red")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
