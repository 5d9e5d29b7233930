"""Environments: classes of VMs that share the same slots, and how many slots each should have. Pure."""
