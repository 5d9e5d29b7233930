"""A real Slurm on this machine, served by real daemons of ours; only the hypervisor is simulated. See docs/slurmlab.md."""
