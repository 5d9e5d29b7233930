"""Benchmarks: `make bench` runs them all, prints figures and the machine they were measured on."""
