"""`python -m lab.bench cost`: what AWS charges for Ballast, from dated prices and counted calls.

Vast's bill is not in here. Durations are assumptions (`Assumptions`), since nothing ran on AWS yet;
the numbers of AWS calls are those that the tests count.
"""

from __future__ import annotations

import argparse
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from chalicelib.core.routing.view import rebuild_interval_s
from chalicelib.services.routing.views import rebuild_view
from fakes.bundles.hot_ports import ENDPOINT_ID, HotWorld, make_group

ROOT = Path(__file__).parent.parent.parent
_ALARM = "Type: AWS::CloudWatch::Alarm"
PRICES = Path(__file__).parent / "prices.toml"
MINUTES_PER_MONTH = 30 * 24 * 60
MILLION = 1_000_000.0

FLEETS = (5, 20, 100, 250)

Prices = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Assumptions:
    """Durations and sizes behind the figures; change one by its flag."""

    route_ms_wrapped: float = 7.0  # 1.7 ms of CPU (bench route at 0.58 vCPU), and DynamoDB's answer
    route_ms_kms: float = 20.0
    attempts_per_grant: float = 1.24  # bench quality: 20 routers, 10 workers, load 0.8
    requests_per_s: float = 50.0  # at which views are read and containers counted
    cold_start_share: float = 0.0005  # of requests; initialisation is billed
    cold_start_ms: float = 900.0
    access_log_bytes: float = 125.0  # infra/edge.yaml's line, and 26 that CloudWatch adds
    report_ms: float = 6.0
    memory_gb_hot: float = 1.0
    memory_gb_reports: float = 0.5
    memory_gb_scaler: float = 0.5
    idle_round_s: float = 1.5  # one listing at Vast and the round around it
    idle_round_reads: int = 8  # AWS reads of an idle round (test: at most 10 calls)
    idle_round_writes: int = 2
    active_loop_s: float = 55.0  # a minute in which a group is active
    active_round_calls: int = 12
    rounds_per_minute: int = 11
    log_bytes_per_round: int = 600
    worker_row_kb: float = 1.0  # the tables' rule: a row stays under it
    report_containers: int = 2  # each asks for the view's lease when it holds news
    reports_per_worker_s: float = 0.4  # busy workers report each second, idle ones every 10 s


def load_prices() -> Prices:
    """The price table."""
    table: Prices = tomllib.loads(PRICES.read_text())
    return table


def lambda_usd(prices: Prices, n: float, seconds: float, memory_gb: float) -> float:
    """Requests and compute of `n` invocations."""
    price = prices["lambda"]
    return (
        n / MILLION * price["per_million_requests"]
        + n * seconds * memory_gb * price["arm64_per_gb_second"]
    )


def marginal(prices: Prices, a: Assumptions, signer: str = "wrapped") -> dict[str, float]:
    """Dollars per million routed requests by item, without the gateway.

    A grant is one conditional write an attempt (tests/api/test_cost_of_a_route.py). A container
    reads a view once a second at most, and only as many run as requests overlap.
    """
    dynamodb, ms = prices["dynamodb"], a.route_ms_wrapped if signer == "wrapped" else a.route_ms_kms
    containers = max(1.0, a.requests_per_s * ms / 1e3 * 2)  # bursts: twice the mean
    read_units = math.ceil(view_kb(20) / 4) / 2  # eventually consistent
    items = {
        "invocation and compute": lambda_usd(prices, MILLION, ms / 1e3, a.memory_gb_hot),
        "cold starts": a.cold_start_share
        * lambda_usd(prices, MILLION, a.cold_start_ms / 1e3, a.memory_gb_hot),
        "conditional writes": a.attempts_per_grant * dynamodb["per_million_writes"],
        "view reads": containers / a.requests_per_s * read_units * dynamodb["per_million_reads"],
        "access log": a.access_log_bytes * MILLION / 1e9 * prices["cloudwatch"]["logs_per_gb"],
    }
    if signer == "kms":
        items["signatures"] = 100 * prices["kms"]["per_10000_rsa_2048_sign"]
    return items


def per_million_requests(prices: Prices, a: Assumptions) -> dict[str, dict[str, float]]:
    """Dollars per million routed requests: {signer: {entry: dollars}}."""
    entries = {
        "Function URL": prices["gateway"]["function_url_per_million"],
        "HTTP API": prices["gateway"]["http_per_million"],
        "REST API": prices["gateway"]["rest_per_million"],
    }
    return {
        signer: {
            entry: sum(marginal(prices, a, signer).values()) + gateway
            for entry, gateway in entries.items()
        }
        for signer in ("wrapped", "kms")
    }


@cache
def view_kb(n_workers: int) -> float:
    """Kilobytes of a routing view of so many ready workers, really packed; of all its shards."""
    world = HotWorld()
    world.publish(make_group())
    for i in range(1, n_workers + 1):
        world.add_worker(i, boot_id=f"{i:016x}", key_id="0")
    rebuild_view(world.ports(), ENDPOINT_ID, world.clock.now())
    return sum(len(view.blob) for view in world.views.views.values()) / 1e3


def fixed_month(prices: Prices, a: Assumptions, n_workers: int) -> dict[str, float]:
    """Dollars a month, beside the idle ones, while a group of so many workers is busy all the time.

    A busy group's view is rebuilt each second (a quiet one's every ten): a lease, the rows, the
    view. A lease that is refused is billed like one that is given.
    """
    dynamodb, seconds = prices["dynamodb"], MINUTES_PER_MONTH * 60
    rebuilds = seconds / rebuild_interval_s(n_workers)
    row_units = math.ceil(n_workers * a.worker_row_kb / 4)
    rounds = MINUTES_PER_MONTH * a.rounds_per_minute
    return {
        "scaler's loop": active_month(prices, a),
        "scaler reads rows": rounds * row_units / MILLION * dynamodb["per_million_reads"],
        "workers' reports": n_workers * worker_month(prices, a),
        "view's leases": rebuilds * a.report_containers / MILLION * dynamodb["per_million_writes"],
        "rows read for the view": rebuilds
        * row_units
        / 2
        / MILLION
        * dynamodb["per_million_reads"],
        "view's writes": rebuilds
        * math.ceil(view_kb(n_workers))
        / MILLION
        * dynamodb["per_million_writes"],
    }


def idle_month(prices: Prices, a: Assumptions) -> dict[str, float]:
    """Dollars a month while every group idles; the number of groups hardly matters.

    One round a minute reads and writes account-wide items; idle groups write no series.
    """
    n = MINUTES_PER_MONTH
    dynamodb = prices["dynamodb"]
    logs_gb = n * a.log_bytes_per_round / 1e9
    return {
        "lambda": lambda_usd(prices, n, a.idle_round_s, a.memory_gb_scaler),
        "dynamodb": n * a.idle_round_reads / MILLION * dynamodb["per_million_reads"]
        + n * a.idle_round_writes / MILLION * dynamodb["per_million_writes"]
        + 0.1 * (dynamodb["storage_per_gb_month"] + dynamodb["backup_per_gb_month"]),
        "kms": prices["kms"]["per_key_month"],
        "secret": prices["secrets"]["per_secret_month"],
        "logs": logs_gb * prices["cloudwatch"]["logs_per_gb"],
        "alarms": n_alarms() * prices["cloudwatch"]["alarm_month"],
        "metrics": prices["cloudwatch"]["custom_metric_month"],  # the heartbeat alone
    }


def n_alarms() -> int:
    """The alarms of the stacks."""
    return sum(text.read_text().count(_ALARM) for text in (ROOT / "infra").glob("*.yaml"))


def active_month(prices: Prices, a: Assumptions) -> float:
    """Dollars a month if some group is active all the time: the inner loop never rests."""
    n = MINUTES_PER_MONTH
    calls = n * a.rounds_per_minute * a.active_round_calls
    return (
        lambda_usd(prices, n, a.active_loop_s, a.memory_gb_scaler)
        + calls / MILLION * prices["dynamodb"]["per_million_reads"]
    )


def worker_month(prices: Prices, a: Assumptions) -> float:
    """Dollars a month for the reports of one worker: an invocation, a read, a write each."""
    n = a.reports_per_worker_s * 60 * MINUTES_PER_MONTH
    dynamodb = prices["dynamodb"]
    return (
        lambda_usd(prices, n, a.report_ms / 1e3, a.memory_gb_reports)
        + n / MILLION * (dynamodb["per_million_writes"] + dynamodb["per_million_reads"])
        + n / MILLION * prices["gateway"]["http_per_million"]
    )


def summary(prices: Prices, a: Assumptions) -> dict[str, object]:
    """All figures as plain values."""
    idle = idle_month(prices, a)
    return {
        "prices_dated": prices["dated"],
        "per_million_requests_usd": per_million_requests(prices, a),
        "idle_month_usd": {**idle, "total": sum(idle.values())},
        "active_month_usd": active_month(prices, a),
        "worker_month_usd": worker_month(prices, a),
        "marginal_usd": marginal(prices, a),
        "fixed_month_usd": {n: fixed_month(prices, a, n) for n in FLEETS},
        "assumptions": asdict(a),
    }


def render(prices: Prices, a: Assumptions) -> str:
    """The figures as the tables of docs/cost.md."""
    lines = [f"AWS list prices of {prices['dated']}, us-east-1, no free tier", ""]
    lines += ["| per million requests | Function URL | HTTP API | REST API |", "|---|---|---|---|"]
    for signer, row in per_million_requests(prices, a).items():
        cells = " | ".join(f"${usd:.2f}" for usd in row.values())
        lines.append(f"| signer `{signer}` | {cells} |")
    lines += ["", "| of it, signer `wrapped` | $ |", "|---|---|"]
    lines += [f"| {name} | {usd:.2f} |" for name, usd in marginal(prices, a).items()]
    lines += ["", "| busy month | " + " | ".join(f"{n} workers" for n in FLEETS) + " |"]
    lines += ["|---" * (1 + len(FLEETS)) + "|"]
    months = [fixed_month(prices, a, n) for n in FLEETS]
    for name in months[0]:
        lines.append(f"| {name} | " + " | ".join(f"{month[name]:.2f}" for month in months) + " |")
    totals = " | ".join(f"**{sum(month.values()):.2f}**" for month in months)
    lines.append(f"| **total** | {totals} |")
    idle = idle_month(prices, a)
    lines += ["", "| idle month | $ |", "|---|---|"]
    lines += [f"| {name} | {usd:.2f} |" for name, usd in idle.items()]
    lines.append(f"| **total** | **{sum(idle.values()):.2f}** |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench cost", description=__doc__)
    parser.add_argument("--json", action="store_true")
    for name, value in asdict(Assumptions()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    given = vars(parser.parse_args(arguments))
    as_json = given.pop("json")
    assumptions = Assumptions(**given)
    prices = load_prices()
    print(json.dumps(summary(prices, assumptions)) if as_json else render(prices, assumptions))
    return 0
