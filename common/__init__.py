"""Shared by both daemons: the bus, the protocol, the configuration, the life cycle. Imports no other folder."""

VERSION = "0.1.0"
