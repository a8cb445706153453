"""`python -m lab.bench cost`: what AWS charges for Ballast, from dated prices and counted calls.

Vast's bill is not in here. Durations are assumptions (`Assumptions`), since nothing ran on AWS yet;
the numbers of AWS calls are those that the tests count.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from chalicelib.core.routing.view import rebuild_interval_s
from chalicelib.services.routing.views import rebuild_view
from fakes.bundles.hot_ports import ENDPOINT_ID, HotWorld, make_group

ROOT = Path(__file__).parent.parent.parent
_ALARM = re.compile(r"^  (\w+):\n    Type: AWS::CloudWatch::Alarm\n((?:    .*\n)+)", re.MULTILINE)
_WITHOUT_EDGE = "Condition: HasNoEdge"
PRICES = Path(__file__).parent / "prices.toml"
MINUTES_PER_MONTH = 30 * 24 * 60
MILLION = 1_000_000.0

FLEETS = (5, 20, 100, 250)
N_METRICS = 14
"""Custom metrics that a busy month writes (tests/infra/test_metrics.py); an idle one writes one."""
GPU_USD_PER_HOUR = 0.40  # to compare with
LOG_LINE_BYTES = (700, 900)
"""Of a function's line for a routed request, if it wrote one."""

Prices = Mapping[str, Mapping[str, float]]

_INTRODUCTION = """\
# What AWS charges for Ballast

This page is what `python -m lab.bench cost` prints, from the price table `lab/bench/prices.toml`
(list prices of {dated}, us-east-1, no free tier); every assumption is a flag.
Durations are assumed, not measured on AWS: nobody has run Ballast there yet.
Vast's bill is not in here; Ballast caps that one itself.
"""


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
    group_rows_kb: float = 1.0  # of a group and its autogroup, which every round reads
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
    """Dollars a month while every group idles; a few groups hardly matter (`groups_month`).

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
        "alarms": sum(alarms().values()) * prices["cloudwatch"]["alarm_month"],
        "metrics": prices["cloudwatch"]["custom_metric_month"],  # the heartbeat alone
    }


def groups_month(prices: Prices, a: Assumptions, n_groups: int) -> float:
    """Dollars a month for reading the rows of so many idle groups in each minute's round."""
    units = MINUTES_PER_MONTH * math.ceil(n_groups * a.group_rows_kb / 4)
    return units / MILLION * prices["dynamodb"]["per_million_reads"]


def alarms() -> dict[str, int]:
    """The alarms of a deployment with its edge, by name; how many metrics each is billed for."""
    return {
        name: max(1, body.count("MetricStat:"))
        for template in ("ops.yaml", "edge.yaml")
        for name, body in _ALARM.findall((ROOT / "infra" / template).read_text())
        if _WITHOUT_EDGE not in body
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
        "marginal_usd": marginal(prices, a),
        "fixed_month_usd": {n: fixed_month(prices, a, n) for n in FLEETS},
        "assumptions": asdict(a),
    }


def render(prices: Prices, a: Assumptions) -> str:
    """docs/cost.md, whole."""
    parts = [_INTRODUCTION.format(dated=prices["dated"])]
    parts += [_requests_part(prices, a), _busy_part(prices, a), _idle_part(prices, a)]
    return "\n".join([*parts, _choices_part(prices, a)])


def _requests_part(prices: Prices, a: Assumptions) -> str:
    by_signer, items = per_million_requests(prices, a), marginal(prices, a)
    default = {"wrapped": " (default)"}
    rows = [
        [f"signer `{signer}`{default.get(signer, '')}", *(f"${usd:.2f}" for usd in row.values())]
        for signer, row in by_signer.items()
    ]
    of_it = [[name, f"{usd:.2f}"] for name, usd in items.items()]
    entries = _table(["per million requests", *by_signer["wrapped"]], rows)
    shares = _table(["of it, signer `wrapped`", "$"], of_it)
    return f"""\
## Per million routed requests

{entries}

The default set-up enters through the HTTP API; `chalice deploy` alone enters through the REST API.
What the HTTP API's price is added to:

{shares}

A grant is one conditional write under 1 KB (counted in the tests), times {a.attempts_per_grant:g}
attempts: that many are refused and repeated with 20 routers, 10 workers and a load of 0.8
(`python -m lab.bench quality`). A route takes {a.route_ms_wrapped:g} ms of a function of
{a.memory_gb_hot:g} GB, and {1e6 * a.cold_start_share:,.0f} of a million begin with a cold start of
{a.cold_start_ms:g} ms, which is billed. The functions write no line for a routed request, and
Lambda's own lines are off (`infra/functions.py`); the edge's access log, if wanted, is a line each.
"""


def _busy_part(prices: Prices, a: Assumptions) -> str:
    months = [fixed_month(prices, a, n) for n in FLEETS]
    rows = [[name, *(f"{month[name]:.2f}" for month in months)] for name in months[0]]
    rows.append(["**total**", *(f"**{sum(month.values()):.2f}**" for month in months)])
    busy = _table(["busy month", *(f"{n} workers" for n in FLEETS)], rows)
    a_million = per_million_requests(prices, a)["wrapped"]["HTTP API"]
    millions = a.requests_per_s * 60 * MINUTES_PER_MONTH / MILLION
    return f"""\
## A busy month, by the number of workers

Beside the requests and the idle month, while a group is busy all the time.
({a.requests_per_s:g} requests/s all month are {millions:.1f} million: ${millions * a_million:.2f}.)

{busy}

* Most of it are reports: a busy worker sends {a.reports_per_worker_s:g} a second on average,
  about ${worker_month(prices, a):.2f} a month. A GPU at ${GPU_USD_PER_HOUR:.2f}/h costs
  ${GPU_USD_PER_HOUR * 720:.0f} in the same month.
* The scaler's loop is paid once for the account, however many groups it has.
* A busy group's routing view is rebuilt every second. A fleet without requests rebuilds it every
  ten seconds: a tenth of the last three lines.
"""


def _idle_part(prices: Prices, a: Assumptions) -> str:
    idle, cloudwatch = idle_month(prices, a), prices["cloudwatch"]
    rows = [[name, f"{usd:.2f}"] for name, usd in idle.items()]
    month = _table(["idle month", "$"], [*rows, ["**total**", f"**{sum(idle.values()):.2f}**"]])
    of_metric = cloudwatch["custom_metric_month"]
    each = ", ".join(f"{name}{f' ({n})' if n > 1 else ''}" for name, n in alarms().items())
    of_groups = [f"${groups_month(prices, a, n):.2f} for {n:,}" for n in (10, 100, 10_000)]
    return f"""\
## An idle month

{month}

* Every round reads the rows of all groups, a kilobyte each: {", ".join(of_groups)} groups more.
* Each metric of an alarm costs ${cloudwatch["alarm_month"]:.2f}; these {len(alarms())} alarms have
  {sum(alarms().values())}: {each}.
* Metrics are embedded in log lines of the scaler; CloudWatch charges ${of_metric:.2f} a month for
  each of the {N_METRICS} custom metrics that is used, by the hour, and nothing for those that never
  appear. What is 0 is not written, so an idle month has the heartbeat alone and a busy one up to
  ${(N_METRICS - 1) * of_metric:.2f} more. The first ten are free.
* CloudWatch's dashboard is free among the first three of an account, and
  ${cloudwatch["dashboard_month"]:.0f} a month beyond; `ARGS=--no-ops` makes none, and no alarms.
"""


def _choices_part(prices: Prices, a: Assumptions) -> str:
    usd, gateway = per_million_requests(prices, a), prices["gateway"]
    of_kms = usd["kms"]["HTTP API"] - usd["wrapped"]["HTTP API"]
    of_rest = gateway["rest_per_million"] - gateway["http_per_million"]
    per_gb = prices["cloudwatch"]["logs_per_gb"]
    low, high = (MILLION * size / 1e9 * per_gb for size in LOG_LINE_BYTES)
    secret = prices["secrets"]["per_secret_month"]
    a_million = "per million requests"
    choices = {
        "local signature under a KMS-wrapped key instead of `kms:Sign`": (
            f"saves ${of_kms:.2f} {a_million}"
        ),
        "C signature once per worker instead of once per request": "saves 0.2 ms of CPU a request",
        "HTTP API instead of REST API": f"saves ${of_rest:.2f} {a_million}",
        "stats of a minute in one item, written when something changed": "an idle group: nothing",
        "no log line per routed request": f"saves ${low:.2f}-{high:.2f} {a_million}",
        "secret in Secrets Manager instead of an SSM SecureString": f"costs ${secret:.2f} a month",
    }
    rows = [[choice, dollars] for choice, dollars in choices.items()]
    return f"""\
## By design choice

{_table(["choice", "dollars"], rows)}"""


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(
        f"|{'|'.join(line)}|" if line is lines[1] else f"| {' | '.join(line)} |" for line in lines
    )


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
