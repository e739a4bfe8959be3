"""Pure: what was found and done becomes status, conditions, history, events and the next wake.

Conditions are output, never input: nothing here is read back except the ledger and the history it appends to.
"""
