"""What the alarms and the CloudWatch dashboard look for is what the scaler writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode.cfn_yaml import loads

from chalicelib.api.scaler import answer_event
from devstack.lambda_context import LambdaContext
from fakes.world import World

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
        if properties.get("Namespace") == NAMESPACE:
            (dimension,) = properties["Dimensions"]
            assert dimension["Name"] == "service"
            found.add((properties["MetricName"], dimension["Value"]["Fn::Sub"]))
        if "DashboardBody" in properties:
            for widget in json.loads(properties["DashboardBody"]["Fn::Sub"])["widgets"]:
                for namespace, name, _, value in widget["properties"].get("metrics", ()):
                    found |= {(name, value)} if namespace == NAMESPACE else set()
    return found


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_every_watched_metric_is_written_by_a_busy_scaler(
    stage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((ROOT / ".chalice" / "config.json").read_text())
    for name, value in config["stages"][stage]["environment_variables"].items():
        monkeypatch.setenv(name, value)
    world = World()
    group = world.add_group("llm", min_load=100)
    for _ in range(6):  # a first, empty listing must be confirmed before anything is rented
        answer_event({}, LambdaContext("scaler", 9.0), lambda: world.ports)
        world.tick(60)
    world.ask(group.endpoint_id)
    assert world.n_served == 1
    capsys.readouterr()
    answer_event({}, LambdaContext("scaler", 9.0), lambda: world.ports)
    line = json.loads(capsys.readouterr().out)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert (directive["Namespace"], directive["Dimensions"]) == (NAMESPACE, [["service"]])
    written = {(metric["Name"], line["service"]) for metric in directive["Metrics"]}
    assert watched(stage) - written == set()
    assert {name for name, _ in written} == PROMISED
    assert len(watched(stage)) >= 10
    costs = (ROOT / "docs" / "cost.md").read_text()
    assert f"each of the {len(PROMISED)} custom metrics" in costs
