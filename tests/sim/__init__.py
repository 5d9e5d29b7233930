"""The simulator of batch farms."""
