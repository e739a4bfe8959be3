"""Reports what the process does: logs and metrics, without secrets."""
