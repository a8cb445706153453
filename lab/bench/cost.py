"""`python -m lab.bench cost`: what AWS charges for Ballast, from dated prices and counted calls.

Vast's bill is not in here. Durations are assumptions (`Assumptions`), since nothing ran on AWS yet;
the numbers of AWS calls are those that the tests count.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

PRICES = Path(__file__).parent / "prices.toml"
MINUTES_PER_MONTH = 30 * 24 * 60
MILLION = 1_000_000.0

Prices = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Assumptions:
    """Durations and sizes behind the figures; change one by its flag."""

    route_ms_wrapped: float = 7.0
    route_ms_kms: float = 20.0
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


def per_million_requests(prices: Prices, a: Assumptions) -> dict[str, dict[str, float]]:
    """Dollars per million routed requests: {signer: {entry: dollars}}.

    One conditional write each; the view's read (at most one a second and container) vanishes in it.
    """
    write = prices["dynamodb"]["per_million_writes"]
    sign = 100 * prices["kms"]["per_10000_rsa_2048_sign"]
    compute = {
        "wrapped": lambda_usd(prices, MILLION, a.route_ms_wrapped / 1e3, a.memory_gb_hot),
        "kms": lambda_usd(prices, MILLION, a.route_ms_kms / 1e3, a.memory_gb_hot) + sign,
    }
    entries = {
        "Function URL": prices["gateway"]["function_url_per_million"],
        "HTTP API": prices["gateway"]["http_per_million"],
        "REST API": prices["gateway"]["rest_per_million"],
    }
    return {
        signer: {entry: usd + write + gateway for entry, gateway in entries.items()}
        for signer, usd in compute.items()
    }


def idle_month(prices: Prices, a: Assumptions, *, n_alarms: int = 12) -> dict[str, float]:
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
        "alarms": n_alarms * prices["cloudwatch"]["alarm_month"],
        "metrics": prices["cloudwatch"]["custom_metric_month"],  # the heartbeat alone
    }


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
        "assumptions": asdict(a),
    }


def render(prices: Prices, a: Assumptions) -> str:
    """The figures as the tables of docs/cost.md."""
    lines = [f"AWS list prices of {prices['dated']}, us-east-1, no free tier", ""]
    lines += ["| per million requests | Function URL | HTTP API | REST API |", "|---|---|---|---|"]
    for signer, row in per_million_requests(prices, a).items():
        cells = " | ".join(f"${usd:.2f}" for usd in row.values())
        lines.append(f"| signer `{signer}` | {cells} |")
    idle = idle_month(prices, a)
    lines += ["", "| idle month | $ |", "|---|---|"]
    lines += [f"| {name} | {usd:.2f} |" for name, usd in idle.items()]
    lines.append(f"| **total** | **{sum(idle.values()):.2f}** |")
    lines += [
        "",
        f"A month with some group active all the time adds ${active_month(prices, a):.2f}.",
        f"A worker's reports cost ${worker_month(prices, a):.2f} a month while it runs.",
    ]
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
