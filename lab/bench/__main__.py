"""`python -m bench NAME`: run one benchmark; without a name, say which there are."""

from __future__ import annotations

import importlib
import sys

BENCHES = ("route", "quality", "reports", "coldstart", "cost", "round", "gateway", "routers")


def main(argv: list[str]) -> int:
    """Dispatch to `bench.NAME.main`."""
    if not argv or argv[0] not in BENCHES:
        print(f"usage: python -m bench {{{','.join(BENCHES)}}} [--help]")
        return 2
    module = importlib.import_module(f"bench.{argv[0]}")
    return int(module.main(argv[1:]) or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
