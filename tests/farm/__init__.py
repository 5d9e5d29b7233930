"""Farms of real daemons on loopback: what the user gets when processes die, hang, lie, or are misconfigured."""
