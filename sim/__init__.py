"""Simulators of farms on a pretend clock, with the cores that the daemons run."""
