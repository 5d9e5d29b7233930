"""INI files to frozen dataclasses, every fault with file, line and key."""
