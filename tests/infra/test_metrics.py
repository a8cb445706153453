"""What the alarms and the CloudWatch dashboard look for is what the scaler writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode.cfn_yaml import loads

from chalicelib.api.routes.scaler import answer_event
from chalicelib.api.telemetry import AVERAGED, HEARTBEAT, emit_metrics
from chalicelib.services.rounds.loop import scaling_loop
from fakes.worlds.world import World
from lab.local.gateway.lambda_context import LambdaContext

ROOT = Path(__file__).parent.parent.parent
NAMESPACE = "Ballast"

PROMISED = {
    "LateShare", "QueueTimeS", "Waiting", "Grants", "Conflicts", "ReportLagS", "RoundDurationS",
    "UsdPerHour", "SpentTodayUsd", "CapLost", "UnknownInventory", "StrayInstances", "OpenBreakers",
    "CreatesFailed",
}  # fmt: skip
"""All that is written; docs/cost.md counts them."""

Metric = tuple[str, str]
"""Name, and value of the dimension `service`."""


def watched(stage: str) -> set[Metric]:
    """The metrics of ours that infra/ops.yaml names, in its alarms and on its dashboard."""
    resources: dict[str, Any] = loads((ROOT / "infra" / "ops.yaml").read_text())["Resources"]
    text = json.dumps(resources).replace("${Stage}", stage).replace("${AWS::Region}", "here")
    resources = json.loads(text)
    found: set[Metric] = set()
    for resource in resources.values():
        properties = resource["Properties"]
        stats = [
            q["MetricStat"]["Metric"] for q in properties.get("Metrics", ()) if "MetricStat" in q
        ]
        for metric in (properties, *stats):
            if metric.get("Namespace") == NAMESPACE:
                (dimension,) = metric["Dimensions"]
                assert dimension["Name"] == "service"
                found.add((metric["MetricName"], dimension["Value"]["Fn::Sub"]))
        if "DashboardBody" in properties:
            for widget in json.loads(properties["DashboardBody"]["Fn::Sub"])["widgets"]:
                for namespace, name, *dimension in widget["properties"].get("metrics", ()):
                    found |= {(name, dimension[1])} if namespace == NAMESPACE else set()
    return found


@pytest.fixture(params=["dev", "prod"])
def stage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment of a stage's scaler."""
    config = json.loads((ROOT / ".chalice" / "config.json").read_text())
    for name, value in config["stages"][request.param]["environment_variables"].items():
        monkeypatch.setenv(name, value)
    return str(request.param)


def metrics_in(printed: str) -> set[Metric]:
    """What a log line in CloudWatch's embedded format tells."""
    line = json.loads(printed)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert (directive["Namespace"], directive["Dimensions"]) == (NAMESPACE, [["service"]])
    return {(metric["Name"], line["service"]) for metric in directive["Metrics"]}


def test_every_watched_metric_is_written_by_a_busy_scaler(
    stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World()
    group = world.add_group("llm", min_load=100)
    for _ in range(6):  # a first, empty listing must be confirmed before anything is rented
        answer_event({}, LambdaContext("scaler", 9.0), lambda: world.ports)
        world.tick(60)
    world.ask(group.endpoint_id)
    assert world.n_served == 1
    figures = scaling_loop(world.ports, deadline_at=world.ports.clock.now() + 1)
    capsys.readouterr()
    emit_metrics([dict.fromkeys(one, 1.0) for one in figures])  # on a day when none of them is 0
    written = metrics_in(capsys.readouterr().out)
    assert watched(stage) - written == set()
    assert {name for name, _ in written} == PROMISED
    assert len(watched(stage)) >= 10
    costs = (ROOT / "docs" / "cost.md").read_text()
    assert f"each of the {len(PROMISED)} custom metrics" in costs


def test_an_idle_scaler_writes_its_heartbeat_alone(
    stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each custom metric costs money for every hour in which it appears."""
    world = World()
    world.add_group("llm", max_workers=0)
    for _ in range(6):  # a first, empty listing must be confirmed
        capsys.readouterr()
        answer_event({}, LambdaContext("scaler", 9.0), lambda: world.ports)
        world.tick(60)
    written = metrics_in(capsys.readouterr().out)
    assert {name for name, _ in written} == {HEARTBEAT}
    assert written <= watched(stage)


def test_an_alarm_takes_what_is_not_written_for_zero() -> None:
    resources: dict[str, Any] = loads((ROOT / "infra" / "ops.yaml").read_text())["Resources"]
    alarms = [r["Properties"] for r in resources.values() if r["Type"] == "AWS::CloudWatch::Alarm"]
    ours = {a["MetricName"]: a for a in alarms if a.get("Namespace") == NAMESPACE}
    assert ours.pop(HEARTBEAT)["TreatMissingData"] == "breaching"
    assert {a["TreatMissingData"] for a in ours.values()} == {"notBreaching"}
    averaged = {name for name, a in ours.items() if a["Statistic"] == "Average"}
    assert averaged == AVERAGED  # a zero that is left out would raise an average
    assert {a["Statistic"] for a in ours.values()} <= {"Sum", "Maximum", "Average"}  # no Minimum
