"""The bus: one contract (contract.py), several engines below it."""
