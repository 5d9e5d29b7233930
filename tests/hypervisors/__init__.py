"""One contract for every hypervisor back end, and what is particular to each."""
