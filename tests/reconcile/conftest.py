"""Dry runs are tried on both grounds of the contract suite."""

from cloud.fixtures import ground, sim, simulated, threads

__all__ = ["ground", "sim", "simulated", "threads"]
