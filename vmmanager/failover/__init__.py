"""Fail-over in the manager: who may act, which hosts may run what, what counts as proof that one is dead (docs/design/0040)."""
