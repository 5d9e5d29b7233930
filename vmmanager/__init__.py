"""The manager: gathers, decides, sends."""
