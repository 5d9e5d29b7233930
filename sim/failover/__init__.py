"""Fail-over in pretend time: the cores of managers, clients and guards, and around them a bus, a storage, hypervisors,
watchdogs and power that can fail in every way one can think of (`vmsim failover`, `vmsim chaos`)."""
