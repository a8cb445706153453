"""`python -m lab.local up | demo | soak | wake | rehearse`."""

from __future__ import annotations

import argparse
import sys

from lab.local.demo import demo
from lab.local.system import up
from lab.local.trials import rehearsal, soak, wake


def main() -> int:
    """Run a command; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lab.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up.add_arguments(commands.add_parser("up", help=up.__doc__))
    demo.add_arguments(commands.add_parser("demo", help=demo.__doc__))
    soak.add_arguments(commands.add_parser("soak", help=soak.__doc__))
    wake.add_arguments(commands.add_parser("wake", help=wake.__doc__))
    rehearsal.add_arguments(commands.add_parser("rehearse", help=rehearsal.__doc__))
    arguments = parser.parse_args()
    commands_by_name = {
        "up": up.run,
        "demo": demo.run,
        "soak": soak.run,
        "wake": wake.run,
        "rehearse": rehearsal.run,
    }
    return commands_by_name[arguments.command](arguments)


if __name__ == "__main__":
    sys.exit(main())
