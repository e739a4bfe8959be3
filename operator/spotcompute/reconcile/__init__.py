"""The loop and its hands: it waits, calls and records, and chooses nothing."""
