"""The command line is tried against a simulated cloud."""

from cloud.fixtures import sim, simulated, threads

__all__ = ["sim", "simulated", "threads"]
