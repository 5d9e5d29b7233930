"""A farm of real daemons on one machine, to look at: `make demo`, `make run`."""
