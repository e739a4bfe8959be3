"""Runs `cvmsim` and `python -m cvmsim`: starts a simulated cloud, or plays the market of a running one."""

from cvmsim.cli import cli


def main() -> None:
    """Runs the command line."""
    cli(prog_name="cvmsim")


if __name__ == "__main__":
    main()
