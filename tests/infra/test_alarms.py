"""Each alarm fires by its cause, and none in an account that merely idles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from chalicelib.api.routes.scaler import answer_event
from chalicelib.api.telemetry import emit_metrics
from fakes.market.market_faults import Fault
from fakes.worlds.world import World
from lab.local.gateway.lambda_context import LambdaContext
from tests.infra.alarms import Sample, alarms_of, emitted, fires

STAGE = "dev"
SERVICE = f"ballast-{STAGE}"
ALARMS = alarms_of(STAGE)
START = 1_800_000_000.0
PARAMETERS = {"ConcurrencyAlarm": 8.0, "FloodPer5Minutes": 180_000.0}


@pytest.fixture(autouse=True)
def service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", SERVICE)
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Ballast")


def firing(samples: list[Sample], now: float) -> set[str]:
    return {name for name, one in ALARMS.items() if fires(one, samples, now, **PARAMETERS)}


def minutes(n: int) -> Iterator[tuple[int, float]]:
    for minute in range(n):
        yield minute, START + 60 * (minute + 1)


def rounds(
    capsys: pytest.CaptureFixture[str], figures: Callable[[int], dict[str, float]], n: int = 15
) -> list[Sample]:
    """A round a minute, with these figures beside its heartbeat, as the scaler writes them."""
    samples: list[Sample] = []
    for minute, at in minutes(n):
        emit_metrics([{"RoundDurationS": 1.0, **figures(minute)}])
        samples += emitted(capsys.readouterr().out, at)
    return samples


def lambda_sum(name: str, value: float, owner: str = "") -> list[Sample]:
    return [Sample(at, "AWS/Lambda", name, owner, value) for _, at in minutes(15)]


def edge(name: str, value: float) -> list[Sample]:
    return [Sample(at, "AWS/ApiGateway", name, "Api", value) for _, at in minutes(15)]


NOW = START + 15 * 60


def test_an_idle_account_rings_no_alarm(capsys: pytest.CaptureFixture[str]) -> None:
    assert firing(rounds(capsys, lambda _: {}), NOW) == set()


def test_two_failed_listings_of_ten_idle_minutes_ring_no_alarm(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A figure's zeros are not written: a Minimum over what is written would say `always`."""
    samples = rounds(capsys, lambda minute: {"UnknownInventory": float(minute in (5, 10))})
    assert firing(samples, NOW) == set()
    strays = rounds(capsys, lambda minute: {"StrayInstances": float(minute in (1, 6, 11))})
    assert firing(strays, NOW) == set()


def scaler_minutes(capsys: pytest.CaptureFixture[str], n: int, *, broken: range) -> list[Sample]:
    """What the scaler emits in so many minutes, the market's listing broken in some of them."""
    world = World()
    world.add_group("llm", min_load=100)
    samples: list[Sample] = []
    for minute, at in minutes(n):
        if minute == broken.start:
            world.market.faults.switch_on(Fault.DEPRECATED_LIST, {})
        if minute == broken.stop:
            world.market.faults.switch_off(Fault.DEPRECATED_LIST)
        answer_event({}, LambdaContext("scaler", 9.0), lambda: world.ports)
        samples += emitted(capsys.readouterr().out, at)
        world.tick(60)
    return samples


def test_a_listing_that_stays_unknown_rings(capsys: pytest.CaptureFixture[str]) -> None:
    """By its real cause: the market's listing is broken, through the scaler's own entry."""
    samples = scaler_minutes(capsys, 24, broken=range(9, 24))
    assert "InventoryUnknown" not in firing(samples, START + 10 * 60)
    assert "InventoryUnknown" in firing(samples, START + 24 * 60)


CAUSES: dict[str, Callable[[pytest.CaptureFixture[str]], list[Sample]]] = {
    "RoundsMissing": lambda _: [],
    "StrayInstances": lambda c: rounds(c, lambda _: {"StrayInstances": 1.0}),
    "CapReached": lambda c: rounds(c, lambda _: {"CapLost": 3.0}),
    "BreakerOpen": lambda c: rounds(c, lambda _: {"OpenBreakers": 1.0}),
    "LateRequests": lambda c: rounds(c, lambda _: {"LateShare": 0.2}),
    "ReportLag": lambda c: rounds(c, lambda _: {"ReportLagS": 45.0}),
    "Throttles": lambda c: [*rounds(c, lambda _: {}), *lambda_sum("Throttles", 1)],
    "Concurrency": lambda c: [*rounds(c, lambda _: {}), *lambda_sum("ConcurrentExecutions", 9)],
    "EdgeErrors": lambda c: [*rounds(c, lambda _: {}), *edge("5xx", 5)],
    "Flood": lambda c: [*rounds(c, lambda _: {}), *edge("Count", 60_000)],
    "RestFlood": lambda c: [
        *rounds(c, lambda _: {}),
        *lambda_sum("Invocations", 60_000, SERVICE),
    ],
}
FUNCTIONS = {
    "ApiErrors": "",
    "HotErrors": "-hot",
    "ReportsErrors": "-reports",
    "ScalerErrors": "-scaler",
    "ScalingLoopErrors": "-scaling_loop",
    "NotifierErrors": "-notifier",
}
CAUSES |= {
    name: lambda c, s=suffix: [  # type: ignore[misc]
        *rounds(c, lambda _: {}),
        *lambda_sum("Errors", 1, f"{SERVICE}{s}"),
    ]
    for name, suffix in FUNCTIONS.items()
}


def test_every_alarm_has_a_cause_here() -> None:
    assert set(CAUSES) | {"InventoryUnknown"} == set(ALARMS)


@pytest.mark.parametrize("name", sorted(CAUSES))
def test_each_alarm_fires_by_its_cause_and_no_other_does(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert firing(CAUSES[name](capsys), NOW) == {name}


@pytest.mark.parametrize("name", sorted(CAUSES))
def test_each_alarm_ends_once_its_cause_has_ended(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever else is written then: an idle account writes its heartbeat and nothing more."""
    samples = CAUSES[name](capsys)
    idle = [replace(one, at=one.at + NOW - START) for one in rounds(capsys, lambda _: {})]
    longest = max(int(one.get("EvaluationPeriods", 1)) for one in ALARMS.values()) * 300
    assert firing([*samples, *idle], NOW + longest) == set()
    assert ALARMS[name]["OKActions"] == [{"Ref": "AlertsTopicArn"}], "who was told hears the end"


def test_a_listing_that_is_known_again_ends_its_alarm(capsys: pytest.CaptureFixture[str]) -> None:
    samples = scaler_minutes(capsys, 36, broken=range(9, 21))
    assert "InventoryUnknown" in firing(samples, START + 21 * 60)
    assert "InventoryUnknown" not in firing(samples, START + 36 * 60)


@pytest.mark.parametrize("figure", ["UnknownInventory", "StrayInstances"])
def test_one_bad_round_of_each_minutes_ten_is_not_all_of_them(
    figure: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A busy scaler makes many rounds in one run, and writes them in one line."""
    samples: list[Sample] = []
    for _, at in minutes(15):
        few = [{"RoundDurationS": 1.0, figure: 3.0 * (n == 4)} for n in range(10)]
        emit_metrics(few)
        samples += emitted(capsys.readouterr().out, at)
    assert firing(samples, NOW) == set()
    for _, at in minutes(15):
        emit_metrics([{"RoundDurationS": 1.0, figure: 3.0} for _ in range(10)])
        samples += emitted(capsys.readouterr().out, at + NOW - START)
    assert len(firing(samples, NOW + 15 * 60)) == 1


def test_alarms_of_dynamodb_metrics_do_not_rely_on_missing_data() -> None:
    """CloudWatch ignores TreatMissingData for them."""
    assert not [a for a in ALARMS.values() if a.get("Namespace") == "AWS/DynamoDB"]


def test_all_alarms_tell_the_topic() -> None:
    for name, alarm in ALARMS.items():
        assert alarm["AlarmActions"] == [{"Ref": "AlertsTopicArn"}], name
