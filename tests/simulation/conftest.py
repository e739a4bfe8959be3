"""Histories log millions of lines, which nobody would read."""

from quiet import silence

__all__ = ["silence"]
