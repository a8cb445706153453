"""`python -m ballast.simulator`: judge policies; also `routing`, `bars`, `caches`, `bids`."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path

try:
    from ballast.simulator.policies import KNOBS, PolicyError, make_policy
    from ballast.simulator.report import (
        HEADER,
        Task,
        compare_rows,
        format_row,
        load_task_trace,
        row_to_json,
        run_all,
        start_lines,
    )
    from ballast.simulator.run import POLLED, QUEUES
    from ballast.simulator.world.market import DEFAULT_MARKET, MarketError, read_market
    from ballast.simulator.world.traces import TraceError
except ModuleNotFoundError as missing:
    if (missing.name or "").partition(".")[0] != "dateutil":
        raise
    sys.exit("simulator: dateutil is not installed: pip install 'ballast[simulator]'")


def main(arguments: list[str] | None = None) -> int:
    """Run a benchmark; exit status 2 for unusable arguments."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["routing"]:
        from ballast.simulator.routed.routing import main as routing_main

        return routing_main(words[1:])
    if words[:1] == ["bars"]:
        from ballast.simulator.bars import main as bars_main

        return bars_main(words[1:])
    if words[:1] == ["caches"]:
        from ballast.simulator.routed.caches.command import main as caches_main

        return caches_main(words[1:])
    if words[:1] == ["bids"]:
        from ballast.simulator.bids import main as bids_main

        return bids_main(words[1:])
    options = _parser().parse_args(words)
    try:
        task, policies = _task(options), _policies(options)
        load_task_trace(task, 0)  # a file is read once: the runs' processes begin with it
    except (OSError, TraceError, MarketError, PolicyError) as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 2
    rows = run_all(
        task,
        policies,
        seeds=options.seeds,
        workers=options.workers,
        progress=lambda text: print(text, file=sys.stderr, flush=True),
    )
    if options.sweep:
        from ballast.simulator.pictures.sweep import draw_frontier

        print(f"picture: {draw_frontier(rows, task, Path(options.picture))}", file=sys.stderr)
    if options.json:
        print(json.dumps([row_to_json(row) for row in rows]))
    else:
        start = start_lines(rows) if options.from_start else []
        print("\n".join([HEADER, *map(format_row, rows), *compare_rows(rows), *start]))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ballast.simulator", description=__doc__)
    add = parser.add_argument
    add("--trace", default="synthetic:chat", help="a file (t_s,load …) or synthetic:NAME")
    add("--policy", action="append", nargs="+", help="e.g. ballast window:1.2,300 knative+vast")
    add("--fleet", type=float, default=8.0, help="mean demand in reference workers")
    add("--seeds", type=int, default=5)
    add("--slo-wait", type=float, default=10.0, help="seconds")
    add("--slo-target", type=float, default=0.99)
    add("--market", type=Path, default=DEFAULT_MARKET)
    add("--days", type=float, help="only so many days of the trace")
    add("--start-day", type=float, default=0.0, help="of the trace, where the run begins")
    add("--load", default="auto", help="the column that holds a request's load")
    add("--queue", choices=("own", *QUEUES), default="own",
        help="own: rivals bind early in order, ours late with paced clients")  # fmt: skip
    add("--round", type=float, default=5.0, help="seconds between rounds")
    add("--restart", type=float, help="median seconds from stopped to ready")
    add("--slots", type=int, help="requests a worker serves at once")
    add("--min-load", type=float, default=0.0, help="the owner's floor, in reference workers")
    add("--max-workers", type=int, help="the owner's cap on machines; like --min-load, for all")
    add("--workers", type=int, default=os.cpu_count() or 1, help="runs at once")
    add("--whole", action="store_true",
        help="ours as the whole scaling service on fakes: rows, intents, caps, pacing")  # fmt: skip
    add("--from-start", action="store_true",
        help="no warm-up: from second 0, and from the first ready worker on")  # fmt: skip
    add("--json", action="store_true")
    add("--sweep", action="store_true", help="every policy at each of its knob's points")
    add("--picture", default="frontier.png", help="where --sweep draws")
    return parser


def _task(options: argparse.Namespace) -> Task:
    changes: dict[str, object] = {}
    if options.restart is not None:
        changes["start_median_s"] = options.restart
    if options.slots is not None:
        changes["slots"] = options.slots
    if options.max_workers is not None:
        changes["max_workers"] = options.max_workers
    return Task(
        trace=options.trace,
        load_column=options.load,
        days=options.days,
        fleet=options.fleet,
        market=read_market(options.market, **changes),
        queue=options.queue,
        slo_wait_s=options.slo_wait,
        slo_target=options.slo_target,
        round_s=options.round,
        is_from_start=options.from_start,
        start_day=options.start_day,
        min_load=options.min_load,
    )


def _policies(options: argparse.Namespace) -> list[str]:
    named = [name for group in options.policy or [["ballast", "window:1.2,300"]] for name in group]
    if options.sweep:
        named = [point for name in named for point in _points(name)]
    if options.whole:
        named = [re.sub(r"^ballast(?=:|$)", "ballast-whole", name) for name in named]
    for name in named:
        make_policy(name)
        if name.startswith("ballast-whole") and options.queue not in ("own", *POLLED):
            raise PolicyError(f"{name}: --queue {options.queue} has no clients that poll")
    return named


def _points(name: str) -> list[str]:
    if ":" in name:
        return [name]
    if name == "ballast":
        return [f"ballast:{target}" for target in ("0.9", "0.95", "0.98", "0.99", "0.995", "0.999")]
    base, plus, pool = name.partition("+")
    return [f"{base}:{knob}{plus}{pool}" for knob in KNOBS.get(base, ())] or [name]


if __name__ == "__main__":
    sys.exit(main())
