"""Policies for environments and the states of slots."""
