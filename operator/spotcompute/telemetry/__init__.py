"""What leaves the process besides its work: logs and metrics, and no secret among them."""
