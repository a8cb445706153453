"""`python -m lab.bench reports`: our own CPU per report against one UpdateItem.

The whole reports function runs, from the event to the answer, over rows in memory; beside it, one
botocore UpdateItem answered inside the process. What is printed is our own share on top of it.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from itertools import count
from typing import Any

from chalicelib.adapters.aws.workers.repository import DynamoWorkerRepository
from chalicelib.api.entry import BallastApp
from chalicelib.api.routes.reports import reports_blueprint
from chalicelib.ports.worker_repository import Grant
from chalicelib.services.keys import worker_token
from fakes.bundles.hot_ports import ENDPOINT_ID, INTENT_TOKEN, HotWorld, make_group
from lab.bench.canned_aws import CannedDynamoDb
from lab.bench.events import post_event
from lab.bench.paired import compare
from lab.local.gateway.lambda_context import LambdaContext

BUDGET = 1.0
"""Our own CPU per report, in UpdateItems."""


class ReportsFunction:
    """The reports function over a world with `n_workers`, each reporting in turn."""

    def __init__(self, n_workers: int) -> None:
        self.world = HotWorld()
        self.world.publish(make_group())
        self.tokens = []
        for i in range(1, n_workers + 1):
            self.world.add_worker(i)
            intent = INTENT_TOKEN.format(instance_id=i)
            self.tokens.append(worker_token(self.world.secrets, ENDPOINT_ID, intent))
        ports = self.world.ports()
        self.app = BallastApp("bench")
        self.app.register_blueprint(reports_blueprint(lambda: ports))
        self.turns = count()

    def report(self) -> None:
        """The next worker's report; time passes as if each reported once a second."""
        turn = next(self.turns)
        i = turn % len(self.tokens)
        self.world.clock.advance(1 / len(self.tokens))
        body: dict[str, Any] = {
            "id": i + 1,
            "mtoken": self.tokens[i],
            "version": "1.1.0",
            "loadtime": 5.0,
            "cur_load": 100.0,
            "new_load": float(turn % 977),
            "rej_load": 0.0,
            "cur_perf": 90.0,
            "max_perf": 100.0,
            "error_msg": "",
            "num_requests_working": 1,
            "num_requests_recieved": turn,
            "working_request_idxs": [turn],
            "url": "http://203.0.113.1:20001",
        }
        event = post_event("/worker_status", json.dumps(body))
        answer = self.app(event, LambdaContext("reports", 29.0))
        if answer["statusCode"] != 200:
            raise RuntimeError(f"not taken: {answer}")


def main(argv: list[str]) -> int:
    """Measure and print; the exit code is 1 over budget."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench reports", description=__doc__)
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--calls", type=int, default=300, help="per block")
    parser.add_argument("--workers", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    function = ReportsFunction(options.workers)
    rows = DynamoWorkerRepository(CannedDynamoDb().client, "bench")
    grant = Grant(cost=100.0)
    result = compare(
        lambda: rows.reserve(ENDPOINT_ID, 1, grant),
        function.report,
        n_blocks=options.blocks,
        n_calls=options.calls,
    )
    before = Counter(function.world.workers.calls)
    for _ in range(options.calls):
        function.report()
    calls = function.world.workers.calls - before
    figures = {
        "update_us": round(result.limit_s * 1e6, 1),
        "report_us": round(result.ours_s * 1e6, 1),
        "ratio": round(result.ratio, 3),
        "reads_per_report": calls["find"] / options.calls,
        "writes_per_report": calls["update"] / options.calls,
    }
    print(
        json.dumps(figures) if options.json else "  ".join(f"{k}={v}" for k, v in figures.items())
    )
    return int(result.ratio > BUDGET)
