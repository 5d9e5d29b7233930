"""A manager is trusted by the file that an administrator laid out, and no longer than it lies there."""

from __future__ import annotations

import pytest

from common.config.model import ManagerConfig
from common.envelope import Role
from vmmanager.context import Context
from vmmanager.events import Effect, Moment, Note, Trust
from vmmanager.keybook import KeyBook

RAW = bytes([1] * 32)  # a public key


@pytest.fixture
def context() -> Context:
    return Context(ManagerConfig("m1"), Moment(1000.0, 0.0))


def taken(context: Context) -> list[Effect]:
    effects, context.out = context.out, []
    return effects


def trusted(effects: list[Effect]) -> list[tuple[str, str | None]]:
    return [(effect.name, effect.state) for effect in effects if isinstance(effect, Trust)]


def test_a_manager_whose_key_file_is_gone_is_believed_no_longer(context: Context) -> None:
    book = KeyBook(context)
    laid_out: tuple[tuple[str, bytes, Role], ...] = (("m2", RAW, "manager"), ("web1", RAW, "client"))
    book.found(laid_out, ())
    assert trusted(taken(context)) == [("m2", "accepted"), ("web1", "accepted")]
    book.found(laid_out[1:], ())
    effects = taken(context)
    assert trusted(effects) == [("m2", None)]
    said = [effect.text for effect in effects if isinstance(effect, Note)]
    assert said == ["key of m2: accepted -> removed (its key file is gone)"]
    book.found(laid_out, ())
    assert trusted(taken(context)) == [("m2", "accepted")]


def test_a_folder_that_cannot_be_read_revokes_nobody(context: Context) -> None:
    book = KeyBook(context)
    book.found((("m2", RAW, "manager"),), ())
    taken(context)
    book.found((), ("/var/lib/vmherd/managers: Permission denied",))
    assert trusted(taken(context)) == []
