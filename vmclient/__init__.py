"""The client: one per host that has something to tell or to do."""

VERSION = "0.1.0"  # as in setup.py; a test compares them
