"""`python -m lab.bench route`: CPU of a grant against one RSA-2048 signature and one UpdateItem.

The whole hot function runs, from the API Gateway event to the answer, with DynamoDB answered inside
the process. Beside it, the least that any implementation must do: sign, and make one botocore call.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from typing import Any

from chalicelib.adapters.aws.clients import client_config
from chalicelib.adapters.aws.workers.repository import DynamoWorkerRepository
from chalicelib.api.entry import BallastApp
from chalicelib.api.routes.routing import routing_blueprint
from chalicelib.core.model.autogroup import TicketGeneration
from chalicelib.services.keys import endpoint_key
from chalicelib.services.routing.views import rebuild_view
from fakes.bundles.hot_ports import ENDPOINT_ID, ENDPOINT_NAME, HotWorld, make_group
from lab.bench.canned_aws import CannedDynamoDb
from lab.bench.events import post_event
from lab.bench.paired import compare
from lab.local.gateway.lambda_context import LambdaContext

BUDGET = 1.25
FLATNESS_BUDGET = 1.2
AFFINITY_BUDGET = 1.05
"""A grant with keys of affinity against one without, both at the same time."""

N_CONVERSATIONS = 250
"""Each is soon known to the router: what its first request costs more, once in each part of a large
fleet, the median leaves out (docs/internals/affinity.md)."""

SHORTER = 6
SIZES = (10, 1_000, 10_000)
VIEW_READS_PER_S = 100.0
"""Requests per second that one container is assumed to serve: each second's first one pays for the
new view."""


class HotFunction:
    """The hot function over a world with `n_workers`, on a canned DynamoDB."""

    def __init__(
        self,
        n_workers: int,
        generation: TicketGeneration,
        *,
        n_conversations: int = 1,
        is_keyed: bool = False,
    ) -> None:
        """`n_conversations`: as many events come in turn, each an object of its own."""
        self.world = HotWorld()
        self.world.publish(make_group())
        for i in range(1, n_workers + 1):
            self.world.add_worker(
                i, perf=1e9, ticket=generation, boot_id="0" * 15 + "1", key_id="0"
            )
        self.world.signer.create_key(0.0)
        rebuild_view(self.world.ports(), ENDPOINT_ID, self.world.clock.now())
        self.aws = CannedDynamoDb(client_config())
        self.rows = DynamoWorkerRepository(self.aws.client, "bench")
        ports = replace(self.world.ports(), workers=self.rows)
        self.app = BallastApp("bench")
        self.app.register_blueprint(routing_blueprint(lambda: ports))
        key = endpoint_key(self.world.secrets, ENDPOINT_ID, 1)
        body = {"endpoint": ENDPOINT_NAME, "api_key": key, "cost": 100.0, "request_idx": 0}
        self.context = LambdaContext("hot", 29.0)
        keys = [f"{i:032x}" for i in range(n_conversations)]
        told = [{"affinity": ["f" * 32, key], "prefix_cost": [10, 80]} for key in keys]
        bodies = [{**body, **(one if is_keyed else {})} for one in told]
        self.events = cycle([post_event("/route", json.dumps(b)) for b in bodies])

    def grant(self) -> None:
        """One request, granted."""
        self.world.clock.advance(1 / VIEW_READS_PER_S)
        if self.world.clock.now() - self._built_at() > 1:
            self._renew()
        answer = self.app(dict(next(self.events)), self.context)
        if '"url"' not in answer["body"]:
            raise RuntimeError(f"not granted: {answer}")

    def _built_at(self) -> float:
        return self.world.views.views[ENDPOINT_ID, 0].built_at

    def _renew(self) -> None:
        """As reports would: the same workers in a newer view, so that it is unpacked again."""
        for key, view in self.world.views.views.items():
            self.world.views.views[key] = replace(view, built_at=self.world.clock.now())


def limit_of(world: HotWorld, generation: TicketGeneration) -> Callable[[], object]:
    """One signature (none for generation C, signed once per worker), one plain UpdateItem."""
    client = CannedDynamoDb().client

    def call() -> None:
        if generation is not TicketGeneration.C:
            world.signer.sign("0", b"x" * 200)
        client.update_item(
            TableName="bench-workers",
            Key={"endpoint_id": {"N": "7"}, "instance_id": {"N": "1"}},
            UpdateExpression="ADD reqnum :one, granted_load :cost",
            ConditionExpression="#state = :ready AND granted_load <= :bound",
            ExpressionAttributeNames={"#state": "state"},
            ExpressionAttributeValues={
                ":one": {"N": "1"},
                ":cost": {"N": "100"},
                ":ready": {"S": "ready"},
                ":bound": {"N": "1000"},
            },
            ReturnValues="UPDATED_NEW",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )

    return call


def measure(
    n_workers: int, generation: TicketGeneration, blocks: int, calls: int
) -> dict[str, Any]:
    """One paired comparison, and the AWS calls that a grant made."""
    hot = HotFunction(n_workers, generation)
    result = compare(
        limit_of(hot.world, generation),
        hot.grant,
        n_blocks=blocks,
        n_calls=calls,
    )
    before, reads = hot.aws.n_granted, Counter(hot.world.views.calls)
    for _ in range(calls):
        hot.grant()
    return {
        "workers": n_workers,
        "generation": generation.value,
        "limit_us": round(result.limit_s * 1e6, 1),
        "grant_us": round(result.ours_s * 1e6, 1),
        "ratio": round(result.ratio, 3),
        "writes_per_grant": (hot.aws.n_granted - before) / calls,
        "view_reads_per_s": (hot.world.views.calls["read"] - reads["read"])
        / (calls / VIEW_READS_PER_S),
    }


def measure_affinity(n_workers: int, blocks: int, calls: int) -> dict[str, Any]:
    """Grants with two keys each, of many conversations, against as many without.

    Many short blocks in turn, since the difference is smaller than a busy machine's noise.
    """
    plain, keyed = (
        HotFunction(
            n_workers, TicketGeneration.D, n_conversations=N_CONVERSATIONS, is_keyed=is_keyed
        )
        for is_keyed in (False, True)
    )
    result = compare(
        plain.grant, keyed.grant, n_blocks=blocks * SHORTER, n_calls=max(1, calls // SHORTER)
    )
    return {
        "workers": n_workers,
        "without_us": round(result.limit_s * 1e6, 1),
        "affinity_us": round(result.ours_s * 1e6, 1),
        "affinity_ratio": round(result.ratio, 3),
    }


def main(argv: list[str]) -> int:
    """Measure and print; the exit code is 1 over budget."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench route", description=__doc__)
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--calls", type=int, default=300, help="per block")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    rows = [measure(n, TicketGeneration.D, options.blocks, options.calls) for n in SIZES] + [
        measure(10, TicketGeneration.C, options.blocks, options.calls)
    ]
    # The limit is the same at every size, so the ratios compare sizes without the machine's noise.
    flatness = max(r["ratio"] for r in rows[:3]) / min(r["ratio"] for r in rows[:3])
    worst = max(r["ratio"] for r in rows[:3])
    keyed = [measure_affinity(n, options.blocks, options.calls) for n in SIZES]
    dearest = max(r["affinity_ratio"] for r in keyed)
    summary = {
        "rows": rows,
        "affinity": keyed,
        "worst_ratio": worst,
        "flatness": round(flatness, 3),
        "affinity_ratio": dearest,
    }
    if options.json:
        print(json.dumps(summary))
    else:
        for row in [*rows, *keyed]:
            print("  ".join(f"{name}={value}" for name, value in row.items()))
        print(f"worst ratio {worst:.2f} (budget {BUDGET})")
        print(f"flatness {flatness:.2f} (budget {FLATNESS_BUDGET})")
        print(f"with affinity {dearest:.3f} (budget {AFFINITY_BUDGET})")
    is_over = worst > BUDGET or flatness > FLATNESS_BUDGET or dearest > AFFINITY_BUDGET
    return int(is_over)
