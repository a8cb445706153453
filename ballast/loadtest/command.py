"""The command line of a load test: `python3 -m workers.tgi.test_load -n 1000 -rps 1 -k … -e …`."""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from ballast.client.arguments import add_connection, parse
from ballast.loadtest.arrivals import Arrival, TraceError, even, poisson, trace
from ballast.loadtest.engine import LoadRun, Target, Workload
from ballast.loadtest.picture import PictureError, draw
from ballast.loadtest.progress import progress_line
from ballast.loadtest.results import as_text, summarise

DEFAULT_N = 100
PROGRESS_S = 1.0
INTERRUPTED = 130


def main(workload: Workload, argv: list[str] | None = None) -> int:
    """Run, show progress, print the summary; 1 when requests failed, 130 after Ctrl-C."""
    arguments = parse(make_parser(), argv)
    target = Target(
        url=arguments.url,
        api_key=arguments.api_key,
        endpoint=arguments.endpoint,
        worker_ca=arguments.worker_ca,
        timeout_s=arguments.timeout,
    )
    run = LoadRun(target=target, workload=workload)
    is_interrupted = False
    try:
        with _Progress(run, arguments.n or (None if arguments.trace else DEFAULT_N)):
            run.run(_arrivals(arguments))
    except KeyboardInterrupt:
        is_interrupted = True
    except TraceError as error:
        print(f"trace: {error}", file=sys.stderr)
    run.stop()
    summary = summarise(run.outcomes, run.elapsed_s)
    print(as_text(summary))
    _write(run, arguments, summary.to_json())
    if is_interrupted:
        return INTERRUPTED
    return 1 if summary.errors else 0


def make_parser() -> argparse.ArgumentParser:
    """The load test's flags."""
    parser = argparse.ArgumentParser(description="Send requests at a given rate and count.")
    add_connection(parser)
    parser.add_argument("-n", type=int, help="requests in total (100; of a trace: all)")
    parser.add_argument("-rps", type=_rate, default=1.0, help="requests per second, such as 0.2")
    parser.add_argument("--poisson", action="store_true", help="random instead of even arrivals")
    parser.add_argument("--seed", type=int, default=0, help="of the random arrivals")
    parser.add_argument("--trace", type=Path, help="CSV with columns at_s and tokens")
    parser.add_argument("--speed", type=_rate, default=1.0, help="replay the trace so much faster")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds per request")
    parser.add_argument("--json", type=Path, help="write summary and each request here")
    parser.add_argument("--picture", type=Path, help="write a picture here (.png, .svg)")
    return parser


def _rate(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not a positive rate")
    return value


def _arrivals(arguments: argparse.Namespace) -> Iterable[Arrival]:
    if arguments.trace:
        lines = arguments.trace.read_text().splitlines()
        return trace(lines, arguments.speed, arguments.n)
    n = arguments.n or DEFAULT_N
    if arguments.poisson:
        return poisson(arguments.rps, n, random.Random(arguments.seed))
    return even(arguments.rps, n)


def _write(run: LoadRun, arguments: argparse.Namespace, summary: dict[str, object]) -> None:
    if arguments.json:
        requests = [asdict(outcome) for outcome in run.outcomes]
        arguments.json.write_text(json.dumps({"summary": summary, "requests": requests}, indent=1))
        print(f"written: {arguments.json}")
    if arguments.picture:
        try:
            draw(run.outcomes, arguments.picture)
        except PictureError as error:
            print(error, file=sys.stderr)
        else:
            print(f"written: {arguments.picture}")


class _Progress:
    """Prints a line each second while the run goes on."""

    def __init__(self, run: LoadRun, n_total: int | None) -> None:
        self._run = run
        self._n_total = n_total
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def _show(self) -> None:
        while not self._over.wait(PROGRESS_S):
            line = progress_line(list(self._run.outcomes), self._n_total, self._run.elapsed_s)
            print(line, file=sys.stderr, flush=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
