"""The embedded single-node bus daemon, speaking the Spread session protocol."""
