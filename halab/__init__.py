"""A farm of real daemons in network namespaces, to kill, cut and stop: what fail-over does when it is not a simulation."""
