"""`python -m lab.bench NAME`: run one benchmark; without a name, say which there are."""

from __future__ import annotations

import importlib
import sys

MODULES = {
    "route": "lab.bench.route",
    "quality": "lab.bench.routers.quality",
    "reports": "lab.bench.reports",
    "coldstart": "lab.bench.coldstart",
    "cost": "lab.bench.cost",
    "round": "lab.bench.round",
    "paths": "lab.bench.paths",
    "gateway": "lab.bench.gateway.gateway",
    "routers": "lab.bench.routers.routers",
    "worker_overhead": "lab.bench.workers.worker_overhead",
}


def main(argv: list[str]) -> int:
    """Dispatch to the module's `main`."""
    if not argv or argv[0] not in MODULES:
        print(f"usage: python -m lab.bench {{{','.join(MODULES)}}} [--help]")
        return 2
    module = importlib.import_module(MODULES[argv[0]])
    return int(module.main(argv[1:]) or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
