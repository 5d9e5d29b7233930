"""Spread: a client of its session protocol with the API of SpreadModule."""
