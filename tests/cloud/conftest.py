"""The grounds of the contract suite as fixtures."""

from cloud.fixtures import ground, sim, simulated, threads

__all__ = ["ground", "sim", "simulated", "threads"]
