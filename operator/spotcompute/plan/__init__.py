"""Decisions: pure, total and deterministic. No waiting, no clock, no randomness, no vendor words.

`planner` asks the questions in order; every other module answers one of them.
"""
