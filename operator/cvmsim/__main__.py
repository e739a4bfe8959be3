"""`cvmsim` and `python -m cvmsim`: start a simulated cloud, or play the market of one that runs."""

from cvmsim.cli import cli


def main() -> None:
    cli(prog_name="cvmsim")


if __name__ == "__main__":
    main()
