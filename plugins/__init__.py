"""Readers and commands that ship with vmherd; daemons load them by the name in the configuration."""
