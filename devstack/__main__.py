"""`python -m devstack up | demo`."""

from __future__ import annotations

import argparse
import sys

from devstack import up


def main() -> int:
    """Run a command; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m devstack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up.add_arguments(commands.add_parser("up", help=up.__doc__))
    return up.run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
