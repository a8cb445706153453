"""`python -m devstack up | demo`."""

from __future__ import annotations

import argparse
import sys

from devstack import demo, up


def main() -> int:
    """Run a command; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m devstack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up.add_arguments(commands.add_parser("up", help=up.__doc__))
    demo.add_arguments(commands.add_parser("demo", help=demo.__doc__))
    arguments = parser.parse_args()
    return up.run(arguments) if arguments.command == "up" else demo.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
