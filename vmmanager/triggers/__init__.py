"""The trigger engine: expressions, state of each trigger, history functions."""
