"""Settles, on a real account, what the vendor does not document: it asks, buys one small instance after the other, and
ends each.

Apart from the provider, which must be right under every answer. `asks` says what is sent, `record` holds what came
back, `findings` judges it, `course` chooses the order, `report` writes it down, and `leftovers` ends what is left.
"""
