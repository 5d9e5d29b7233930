"""What the tests of services share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from common import logs


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.raiseExceptions
    yield
    for handler in root.handlers:
        if handler not in before[0]:
            handler.close()
    root.handlers, root.level, logging.raiseExceptions = before
    logging.captureWarnings(False)
    for name in (logs.ROOT, *(name for name in logging.Logger.manager.loggerDict if name.startswith(f"{logs.ROOT}."))):
        logging.getLogger(name).setLevel(logging.NOTSET)
