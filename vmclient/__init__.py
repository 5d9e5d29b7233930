"""The client: one per host that has something to tell or to do."""
