"""Runs the process around the loop: kopf, the queue, the election and the probes. It knows no cloud."""
