"""Holds the nouns that every package shares: plain values, in our words and not the vendor's."""
