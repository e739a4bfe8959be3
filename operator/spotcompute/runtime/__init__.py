"""The process around the loop: kopf, the queue, the Lease, the probes."""
