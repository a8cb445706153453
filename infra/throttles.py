"""What the edge lets through, from one number: the peak of routed requests that the owner expects.

HTTP APIs throttle by route key, so each kind of caller has a bucket of its own and a flood of one
cannot shut out another; workers have lanes, which no stranger can name (infra/lanes.py).
The worst sum that a day of anonymous floods can cost follows from the same figures, and is
printed by the deployment.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Final

from chalicelib.services.market.lanes import N_LANES

DEFAULT_PEAK_PER_S: Final = 200.0
ACCOUNT_PER_S: Final = 10_000
"""All APIs of an account and region together, unless AWS granted more (aws-rules.md)."""
SMALL_CONCURRENCY: Final = 100
"""Below it, what is not `/route/` may hold only a few of the account's executions at once."""

ROUTE_SHARE: Final = 3.0
"""A waiting client asks again about once a second, beside those that arrive: a 429 on `/route/`
fails the vendor's SDK at once, so the ceiling lies well above the peak."""
REPORTS_SHARE: Final = 2.0
"""A busy worker reports each second, and one that takes a request each second serves the peak."""
LANE_SHARE: Final = 4.0
"""Of an even part: workers are not spread evenly, and one lane may hold the busiest."""

HTTP_API_USD_PER_MILLION: Final = 1.0
REST_API_USD_PER_MILLION: Final = 3.5
REFUSAL_S: Final = 0.005
"""Time of a function that refuses a request without a key; it touches no table."""
DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class Throttle:
    """A bucket: requests a second, and how many at once."""

    rate: int
    burst: int


@dataclass(frozen=True, slots=True)
class Throttles:
    """One bucket for each kind of route key; `rest` is for the other door, Chalice's REST API."""

    route: Throttle
    pubkey: Throttle
    reports: Throttle
    lane: Throttle
    management: Throttle
    brakes: Throttle
    public: Throttle
    bundle: Throttle
    unknown: Throttle
    rest: Throttle

    def parameters(self) -> dict[str, str]:
        """Parameters of edge.yaml: `RouteRate`, `RouteBurst` and so on."""
        kinds = {name: value for name, value in asdict(self).items() if name != "rest"}
        rates = {f"{name.capitalize()}Rate": str(value["rate"]) for name, value in kinds.items()}
        bursts = {f"{name.capitalize()}Burst": str(value["burst"]) for name, value in kinds.items()}
        return rates | bursts | {"FloodPer5Minutes": self.flood}

    @property
    def flood(self) -> str:
        """Requests in five minutes that the stated peak does not explain, as a parameter."""
        return str(300 * self.route.rate)


def throttles_for(
    peak_per_s: float,
    *,
    concurrency: int,
    has_edge: bool = True,
    api_quota: float = ACCOUNT_PER_S,
) -> Throttles:
    """The buckets of a deployment. `concurrency`: executions that the account may have at once.

    `api_quota`: requests a second that its APIs may take.

    With an edge, the REST API lets through a request a second, enough to see that it answers.

    Raises:
        ValueError: a peak that no account serves.
    """
    if not 1 <= peak_per_s <= api_quota / ROUTE_SHARE:
        raise ValueError(
            f"peak {peak_per_s:g} requests/s: give 1 to {api_quota / ROUTE_SHARE:.0f} "
            f"(an account's APIs take {api_quota:g} requests/s together; did AWS grant yours "
            "more? `--api-quota` says so)"
        )
    route = round(peak_per_s * ROUTE_SHARE)
    reports = max(50, round(peak_per_s * REPORTS_SHARE))
    lane = max(20, round(reports * LANE_SHARE / N_LANES))
    wanted = Throttles(
        route=Throttle(route, min(5_000, 2 * route)),
        pubkey=Throttle(max(20, round(peak_per_s / 4)), max(50, round(peak_per_s))),
        reports=Throttle(reports, 2 * reports),
        lane=Throttle(lane, 2 * lane),
        management=Throttle(30, 60),
        brakes=Throttle(5, 10),
        public=Throttle(10, 40),
        bundle=Throttle(10, 50),
        unknown=Throttle(5, 10),
        rest=Throttle(1, 2) if has_edge else Throttle(route + reports, min(5_000, 2 * route)),
    )
    if concurrency >= SMALL_CONCURRENCY:
        return wanted
    # Ten executions for everything: what can wait or comes again gets two at once.
    return replace(
        wanted,
        reports=Throttle(min(reports, 100), 2),
        lane=Throttle(10, 2),
        management=Throttle(5, 2),
        public=Throttle(5, 2),
        bundle=Throttle(2, 2),
        unknown=Throttle(1, 1),
    )


def worst_usd_per_day(throttles: Throttles) -> float:
    """What AWS bills for a day in which strangers without a key fill every bucket of the edge.

    The lanes are not among them: nobody knows those but workers, each its own.
    """
    kinds = asdict(throttles)
    per_s: float = sum(v["rate"] for name, v in kinds.items() if name not in ("rest", "lane"))
    # The same paths written with a slash are route keys of their own: twice the buckets.
    return 2 * per_s * DAY_S * _usd_of_refusal(HTTP_API_USD_PER_MILLION)


def worst_usd_per_day_of_rest(throttles: Throttles) -> float:
    """The same where the REST API is the only door: it has one bucket."""
    return throttles.rest.rate * DAY_S * _usd_of_refusal(REST_API_USD_PER_MILLION)


def _usd_of_refusal(gateway_usd_per_million: float) -> float:
    """A refused request is one call of the gateway and one short execution of 1 GB."""
    gb_second, request = 0.0000133334, 0.20 / 1e6
    return gateway_usd_per_million / 1e6 + request + REFUSAL_S * gb_second


def told(throttles: Throttles, peak_per_s: float) -> list[str]:
    """What the owner hears of it at set-up, a line each."""
    return [
        f"peak {peak_per_s:g} requests/s: /route/ throttled at {throttles.route.rate}/s, "
        f"reports at {throttles.reports.rate}/s, management at {throttles.management.rate}/s, "
        f"public pages at {throttles.public.rate}/s, brakes at {throttles.brakes.rate}/s",
        f"worst sum under a flood by strangers: ${worst_usd_per_day(throttles):,.2f} a day "
        "(alarm Flood tells of it; --peak changes it)",
    ]


def told_of_rest(throttles: Throttles, peak_per_s: float) -> list[str]:
    """The same of a deployment without the edge."""
    return [
        f"peak {peak_per_s:g} requests/s: the REST API is the only door, and throttled at "
        f"{throttles.rest.rate}/s for all callers together: a stranger's flood shuts out the owner "
        "and the machines (`make deploy` makes the edge, which keeps them apart)",
        "worst sum under a flood by strangers: "
        f"${worst_usd_per_day_of_rest(throttles):,.2f} a day (alarm RestFlood tells of it; --peak "
        "changes it)",
    ]
