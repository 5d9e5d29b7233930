"""A farm of real Xen hosts on one machine, in emulation: to try the project with, and to test it against the real `xl`."""
