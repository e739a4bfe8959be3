"""Runs the loop: it waits, calls and records, and chooses nothing."""
