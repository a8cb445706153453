"""A new account runs ten functions at once: throttles keep them for the hot path."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from fakes.aws.functions import Account, Bucket, Door
from infra.throttles import Throttles, throttles_for

SECONDS = 60.0
COLD_START_S, ROUTE_S, REPORT_S, MANAGEMENT_S = 0.9, 0.010, 0.006, 0.1
PEAK_PER_S = 200.0
MAX_REFUSED = 0.025


def minute(throttles: Throttles, seed: int = 0) -> tuple[Account, Counter[tuple[str, int]]]:
    """One of a flood at every door, beside a busy scaler and the peak of routed requests."""
    rng = random.Random(seed)
    account, seen = Account(), Counter[tuple[str, int]]()
    kinds = {
        "route": (PEAK_PER_S, ROUTE_S, throttles.route),
        "reports": (400.0, REPORT_S, throttles.reports),
        "management": (100.0, MANAGEMENT_S, throttles.management),
        "public": (500.0, REPORT_S, throttles.public),
        "bundle": (50.0, MANAGEMENT_S, throttles.bundle),
        "unknown": (500.0, REPORT_S, throttles.unknown),
    }
    buckets = {kind: Bucket(t.rate, t.burst) for kind, (_, _, t) in kinds.items()}
    calls = [
        (rng.uniform(0.0, SECONDS), kind, seconds)
        for kind, (rate, seconds, _) in kinds.items()
        for _ in range(int(rate * SECONDS))
    ]
    # One loop by the schedule, which EventBridge fires twice, and one poke at a time.
    calls += [(0.0, "loop", 55.0), (0.001, "loop", 0.2)]
    calls += [(5.0 * i, "poke", 0.5) for i in range(12)]
    n_started: Counter[str] = Counter()
    for at, kind, seconds in sorted(calls):
        if kind in buckets and not buckets[kind].take(at):
            seen[kind, 429] += 1
            continue
        n_started[kind] += 1
        is_cold = n_started[kind] <= 3  # as many containers of a kind are enough
        took_s = (COLD_START_S if is_cold else 0.0) + seconds * rng.uniform(0.5, 1.5)
        door = Door.HTTP_API if kind in buckets else Door.INVOKE
        seen[kind, account.call(kind, took_s, at, door=door, limit_s=60.0)] += 1
    return account, seen


def share_refused(seen: Counter[tuple[str, int]], kind: str) -> float:
    """Of the requests of a kind."""
    refused = sum(n for (name, status), n in seen.items() if name == kind and status != 200)
    return refused / sum(n for (name, _), n in seen.items() if name == kind)


def test_in_a_new_account_a_flood_at_every_door_leaves_the_hot_path_its_executions() -> None:
    account, seen = minute(throttles_for(PEAK_PER_S, concurrency=10))
    assert account.most_at_once <= account.concurrency
    # Most of what is refused belongs to the cold starts of the first second.
    assert share_refused(seen, "route") <= MAX_REFUSED
    assert not account.throttled["poke"]
    assert not account.killed


def test_with_the_throttles_of_a_large_account_the_same_flood_takes_them() -> None:
    """Which is why a small quota has throttles of its own."""
    few, many = (
        minute(throttles_for(PEAK_PER_S, concurrency=concurrency))[1] for concurrency in (10, 1_000)
    )
    assert share_refused(many, "route") > 3 * share_refused(few, "route")


@pytest.mark.parametrize(
    ("door", "throttled", "late"),
    [(Door.HTTP_API, 503, 503), (Door.REST_API, 500, 504), (Door.INVOKE, 429, 200)],
)
def test_each_door_says_in_its_own_way_that_too_many_run_or_that_one_is_late(
    door: Door, throttled: int, late: int
) -> None:
    account = Account(concurrency=1)
    assert account.call("hot", 40.0, 0.0, door=door) == late
    assert account.call("hot", 0.01, 1.0, door=door) == throttled
    assert account.call("hot", 0.01, 40.0, door=door) == 200


def test_a_function_is_killed_at_its_time_limit_and_frees_its_place() -> None:
    account = Account(concurrency=1)
    assert account.call("loop", 90.0, 0.0, door=Door.INVOKE, limit_s=60.0) == 500
    assert account.killed == {"loop": 1}
    assert account.call("loop", 1.0, 59.9, door=Door.INVOKE) == 429
    assert account.call("loop", 1.0, 60.0, door=Door.INVOKE) == 200
