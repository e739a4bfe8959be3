"""Turns what was found and done into status, conditions, history, events and the next wake. It is pure.

Conditions are output, never input: nothing here is read back except the ledger and the history it appends to.
"""
