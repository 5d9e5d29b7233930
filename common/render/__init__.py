"""Domain configurations as the text that a hypervisor reads."""
