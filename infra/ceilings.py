"""`python -m infra.ceilings`: what a deployment carries, as arithmetic, and the step to more.

Each figure follows from a constant of the product or a rule of docs/internals/aws-rules.md, for
busy workers that take a request each second, and so report each second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chalicelib.adapters.aws.workers.placing import MAX_SHARDS, SPREAD
from chalicelib.core.fleet.pacing import MARGIN_S, MIN_INTERVAL_S, Verb
from chalicelib.services.rounds.turns import MANY_GROUPS, N_TURNS
from chalicelib.services.routing.waiting import MAX_ROWS_OF_GROUP, MAX_ROWS_OF_KEY
from infra.throttles import ACCOUNT_PER_S, ROUTE_SHARE, SMALL_CONCURRENCY

ATTEMPTS: Final = 1.24
"""Conditional writes of a grant: `python -m lab.bench quality`, as in docs/cost.md."""
REPORTS: Final = 1.0  # a busy worker's each second, for its request each second
WRITES: Final = ATTEMPTS + REPORTS

# docs/internals/aws-rules.md
PARTITION_WRITES: Final = 1_000
NEW_TABLE_WRITES: Final = 4_000
TABLE_WRITES: Final = 40_000
NEW_ACCOUNT_EXECUTIONS: Final = 10
ACCOUNT_EXECUTIONS: Final = 1_000
KMS_PER_S: Final = 10_000

ROUTE_S: Final = 0.007  # lab/bench/cost.py
REPORT_S: Final = 0.006
DECRYPTS_A_START: Final = 2  # tests/adapters/test_kms_quota.py

PAGE: Final = 25  # instances that Vast lists at once
PAGE_S: Final = MIN_INTERVAL_S[Verb.LIST] + MARGIN_S
LISTING_S: Final = 180.0  # no listing is older
WARMER: Final = 2.0
"""Of the writes: rows lie unevenly over partitions (tests/services/test_size.py)."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """One bound: what bounds, the arithmetic, what comes of it, and the step to more."""

    what: str
    arithmetic: str
    limit: int
    unit: str
    step: str


def writes_for(grants_per_s: float) -> int:
    """Write units a second of the workers' table."""
    return round(grants_per_s * WRITES)


def warm_command(stage: str, grants_per_s: float) -> str:
    """Prepares the workers' table for a peak at once, rather than in half an hour of load."""
    writes = max(NEW_TABLE_WRITES, 1_000 * round(WARMER * writes_for(grants_per_s) / 1_000))
    return (
        f"aws dynamodb update-table --table-name ballast-{stage}-workers "
        f"--warm-throughput ReadUnitsPerSecond=12000,WriteUnitsPerSecond={writes}"
    )


def warming_advice(stage: str, peak_per_s: float) -> str:
    """What the owner of a new stage hears of a peak that its new table does not serve; else ""."""
    if writes_for(peak_per_s) <= NEW_TABLE_WRITES:
        return ""
    return (
        f"a new table serves {NEW_TABLE_WRITES / WRITES:.0f} requests/s at once, and grows with "
        f"load; to have {peak_per_s:g}/s from the first minute, once: "
        f"`{warm_command(stage, peak_per_s)}`"
    )


def ceilings() -> list[Ceiling]:
    """All of them, from a group's to the account's."""
    grants, keys = "requests/s", {rows: shards for rows, shards in SPREAD}
    of_groups = [(f"a group of up to {rows} workers", keys[rows]) for rows in sorted(keys)] + [
        ("a larger group", MAX_SHARDS)
    ]
    spread = "none: the group grows, or its rows' partitions are split for heat within minutes"
    found = [
        Ceiling(
            what,
            f"{n:,} key{'s' * (n > 1)} x {PARTITION_WRITES:,} writes/s ÷ {WRITES:.2f} a request",
            int(n * PARTITION_WRITES / WRITES),
            grants,
            spread if n < MAX_SHARDS else "none is needed below the table's own ceiling",
        )
        for what, n in of_groups
    ]
    found += [
        Ceiling(
            "a new stage's table",
            f"{NEW_TABLE_WRITES:,} writes/s ÷ {WRITES:.2f}",
            int(NEW_TABLE_WRITES / WRITES),
            grants,
            f"half an hour at half the load, or once, for 3,000: `{warm_command('STAGE', 3_000)}`",
        ),
        Ceiling(
            "a grown or warmed table",
            f"{TABLE_WRITES:,} writes/s ÷ {WRITES:.2f}",
            int(TABLE_WRITES / WRITES),
            grants,
            "Service Quotas, DynamoDB, table-level write throughput",
        ),
        Ceiling(
            "the edge",
            f"the peak that was stated, 200 unless `--peak`; at most {ACCOUNT_PER_S:,} ÷ "
            f"{ROUTE_SHARE:g} throttled asks a request",
            int(ACCOUNT_PER_S / ROUTE_SHARE),
            grants,
            "`make deploy STAGE=… ARGS='--peak N'`; beyond, Service Quotas, API Gateway, throttle "
            "rate, and then `--api-quota N` too",
        ),
        Ceiling(
            "a new account's executions",
            f"{NEW_ACCOUNT_EXECUTIONS} ÷ ({1000 * ROUTE_S:g} + {1000 * REPORT_S:g} ms), "
            "without cold starts",
            int(NEW_ACCOUNT_EXECUTIONS / (ROUTE_S + REPORT_S)),
            grants,
            "Service Quotas, Lambda, concurrent executions: 1,000 (`ballast doctor` has the link); "
            f"below {SMALL_CONCURRENCY} reports and management are held to two at once",
        ),
        Ceiling(
            "an account's executions",
            f"{ACCOUNT_EXECUTIONS:,} ÷ ({1000 * ROUTE_S:g} + {1000 * REPORT_S:g} ms)",
            int(ACCOUNT_EXECUTIONS / (ROUTE_S + REPORT_S)),
            grants,
            "the same quota",
        ),
    ]
    return found + _beside_grants()


def _beside_grants() -> list[Ceiling]:
    """What bounds the rest: starts of containers, the queue, the scaler's rounds."""
    return [
        Ceiling(
            "KMS",
            f"{KMS_PER_S:,} a second ÷ {DECRYPTS_A_START} a container's start; a grant asks none",
            KMS_PER_S // DECRYPTS_A_START,
            "starts/s",
            "none",
        ),
        Ceiling(
            "waiting requests",
            f"rows of a group that a rebuild reads; a key has {MAX_ROWS_OF_KEY:,}",
            MAX_ROWS_OF_GROUP,
            "at once",
            "none: what waits beyond is served, without a place in the queue",
        ),
        Ceiling(
            "groups at rest",
            f"{MANY_GROUPS} that a round has time for x {N_TURNS} minutes",
            MANY_GROUPS * N_TURNS,
            "groups",
            "none: a group at rest is then looked at less often than each half hour",
        ),
        Ceiling(
            "Vast's listing",
            f"{LISTING_S:g} s ÷ {PAGE_S:g} s a page x {PAGE}, at pages that take no longer",
            int(LISTING_S / PAGE_S) * PAGE,
            "machines",
            "none: a second Vast account, with a stage of its own",
        ),
    ]


def table() -> str:
    """As Markdown, for docs/aws.md."""
    lines = ["| what bounds | arithmetic | carries | to have more |", "|---|---|---|---|"]
    lines += [
        f"| {one.what} | {one.arithmetic} | {one.limit:,} {one.unit} | {one.step} |"
        for one in ceilings()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
