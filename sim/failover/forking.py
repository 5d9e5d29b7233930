"""Work in a child of this process: it begins with all that we have, and what it does to that is not done to ours."""

from __future__ import annotations

import gc
import json
import os
import traceback
from collections.abc import Callable
from typing import Any


def forked(do: Callable[[], Any]) -> Any:
    """What `do` gives, as JSON has it. Raises RuntimeError when the child ends without saying."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _be_child(do, writing)
    os.close(writing)
    with open(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    if not said:
        raise RuntimeError("a child process ended and said nothing")
    return json.loads(said)


def _be_child(do: Callable[[], Any], writing: int) -> None:
    """Ends the process, and does nothing of what Python does at its end: that is the parent's."""
    gc.disable()  # it ends long before memory is short
    try:
        said = json.dumps(do()).encode()
        with open(writing, "wb") as pipe:
            pipe.write(said)
    except Exception:  # noqa: BLE001 - the parent hears of it by our silence
        traceback.print_exc()
    finally:
        os._exit(0)
