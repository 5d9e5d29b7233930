"""The boot lab: empty machines in emulation, powered on, that boot from what vmprovision has written."""
