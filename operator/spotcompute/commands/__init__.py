"""Does what the command line offers without a cluster."""
