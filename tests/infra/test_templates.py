"""The templates say what the code expects, and lint clean."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import boto3
import pytest
from cfnlint.api import lint_file
from cfnlint.decode.cfn_yaml import loads

from chalicelib.adapters.aws.tables import TABLES
from chalicelib.services.market.lanes import N_LANES
from fakes.ports.secret_box import FakeSecretBox
from infra.functions import function_names
from infra.lanes import lane_paths, with_lanes
from infra.restore import BACKED_UP
from infra.stacks import deploy_stack, find_stack, read_template
from lab.local.moto_plus.functions import MAX_NAME
from tests.infra.test_stacks import no_pause

INFRA = Path(__file__).parent.parent.parent / "infra"


def template(name: str) -> dict[str, Any]:
    """A parsed template; intrinsic functions become their long forms."""
    parsed: dict[str, Any] = loads((INFRA / name).read_text())
    return parsed


@pytest.mark.parametrize("name", ["core.yaml", "ops.yaml"])  # edge.yaml: with its lanes, below
def test_templates_lint_clean(name: str) -> None:
    assert lint_file(INFRA / name) == []


def test_the_longest_stage_has_names_that_iam_lambda_and_eventbridge_take() -> None:
    """64 characters each; Chalice names roles as functions, and the schedule's rule `…-event`."""
    pattern = template("core.yaml")["Parameters"]["Stage"]["AllowedPattern"]
    longest = "a" * 16
    assert re.fullmatch(pattern, longest)
    assert not re.fullmatch(pattern, longest + "a")
    assert max(len(f"{name}-event") for name in function_names(longest)) <= MAX_NAME


def test_core_tables_have_the_keys_and_ttl_that_the_code_expects() -> None:
    resources = template("core.yaml")["Resources"]
    found = {
        r["Properties"]["TableName"]["Fn::Sub"].replace("ballast-${Stage}-", ""): r["Properties"]
        for r in resources.values()
        if r["Type"] == "AWS::DynamoDB::Table"
    }
    assert set(found) == {table.name for table in TABLES}
    for table in TABLES:
        properties = found[table.name]
        keys = [table.hash_key] + ([table.range_key] if table.range_key else [])
        kinds = {a["AttributeName"]: a["AttributeType"] for a in properties["AttributeDefinitions"]}
        assert [k["AttributeName"] for k in properties["KeySchema"]] == [name for name, _ in keys]
        assert kinds == dict(keys)
        ttl = properties.get("TimeToLiveSpecification", {}).get("AttributeName")
        assert ttl == table.ttl_attribute


def test_what_cannot_be_made_again_is_retained_and_backed_up() -> None:
    resources = template("core.yaml")["Resources"]
    for name, resource in resources.items():
        if resource["Type"] in ("AWS::DynamoDB::Table", "AWS::KMS::Key"):
            # Retained when the stack goes, not when its creation fails: the next try would collide.
            assert resource["DeletionPolicy"] == "RetainExceptOnCreate", name
    guarded = {
        name: properties["DeletionProtectionEnabled"]
        for name, r in resources.items()
        if (properties := r["Properties"])
        .get("PointInTimeRecoverySpecification", {})
        .get("PointInTimeRecoveryEnabled")
    }
    assert set(guarded) == {f"{table.name.capitalize()}Table" for table in BACKED_UP}
    assert all(protected == {"Ref": "ProtectTables"} for protected in guarded.values())


def test_the_edge_has_a_key_without_slash_for_each_path_and_a_throttle_for_each_key() -> None:
    resources = template("edge.yaml")["Resources"]
    keys = {
        r["Properties"]["RouteKey"]
        for r in resources.values()
        if r["Type"] == "AWS::ApiGatewayV2::Route"
    }
    for path in ("POST /route", "GET /pubkey", "POST /worker_status", "POST /delete_requests"):
        assert {path, f"{path}/{{proxy+}}"} <= keys  # API Gateway refuses `POST /route/`
    assert "$default" in keys
    assert not [key for key in keys if key.endswith("/")]
    stage = resources["DefaultStage"]["Properties"]
    assert set(stage["RouteSettings"]) == keys - {"$default"}
    buckets = {key: s["ThrottlingRateLimit"]["Ref"] for key, s in stage["RouteSettings"].items()}
    assert len(set(buckets.values())) == 7
    assert buckets["POST /api/v0/panic"] != buckets["ANY /api/{proxy+}"] != buckets["GET /health"]
    assert stage["DefaultRouteSettings"]["ThrottlingRateLimit"] == {"Ref": "UnknownRate"}
    waits = set(resources["DefaultStage"]["DependsOn"])
    assert waits == {n for n, r in resources.items() if r["Type"] == "AWS::ApiGatewayV2::Route"}
    integrations = [
        r["Properties"] for r in resources.values() if r["Type"] == "AWS::ApiGatewayV2::Integration"
    ]
    assert all(i["PayloadFormatVersion"] == "1.0" for i in integrations)


def test_lanes_are_routes_with_a_throttle_of_their_own_that_no_stranger_can_name(
    tmp_path: Path,
) -> None:
    plain, secrets = (INFRA / "edge.yaml").read_text(), FakeSecretBox()
    paths = lane_paths(secrets)
    filled = with_lanes(plain, paths)
    (tmp_path / "edge.yaml").write_text(filled)
    assert lint_file(tmp_path / "edge.yaml") == []
    assert len(filled.encode()) < 51_200  # of a template that travels in the call
    resources: dict[str, Any] = loads(filled)["Resources"]
    routes = [r for r in resources.values() if r["Type"] == "AWS::ApiGatewayV2::Route"]
    assert len(routes) <= 300
    stage = resources["DefaultStage"]
    assert len(stage["DependsOn"]) == len(routes)
    settings = stage["Properties"]["RouteSettings"]
    for path in paths:
        for method in ("POST", "GET"):
            rate = settings[f"{method} /{path}/{{proxy+}}"]["ThrottlingRateLimit"]
            assert rate == {"Ref": "LaneRate"}
    assert len(set(paths)) == N_LANES
    other = lane_paths(FakeSecretBox(b"another deployment"))
    assert not set(paths) & set(other)
    with pytest.raises(ValueError, match="no place"):
        with_lanes(filled, paths)


def test_access_logs_of_the_edge_hold_no_query_string() -> None:
    settings = template("edge.yaml")["Resources"]["DefaultStage"]["Properties"]
    log_format = settings["AccessLogSettings"]["Fn::If"][1]["Format"]
    fields = set(re.findall(r"\$context\.([A-Za-z]+)", log_format))
    assert fields == {"requestTimeEpoch", "requestId", "routeKey", "status", "responseLatency"}


def test_every_alarm_names_its_entry_in_the_runbook() -> None:
    runbook = (INFRA.parent / "docs" / "runbook.md").read_text()
    entries = set(re.findall(r"^## (\S+)$", runbook, re.MULTILINE))
    alarms = {
        name: r["Properties"]["AlarmDescription"]
        for name, r in (
            *template("ops.yaml")["Resources"].items(),
            *template("edge.yaml")["Resources"].items(),
        )
        if r["Type"] == "AWS::CloudWatch::Alarm"
    }
    assert len(alarms) >= 8
    for name, description in alarms.items():
        text = description if isinstance(description, str) else description["Fn::Sub"]
        assert text.split("docs/runbook.md#")[1].rstrip(".") in entries, name


def test_the_dashboard_is_json() -> None:
    body = template("ops.yaml")["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    assert len(json.loads(body)["widgets"]) >= 6


def test_the_core_stack_makes_its_resources_twice_without_change(aws: None) -> None:
    cloudformation = boto3.client("cloudformation", region_name="us-east-1")
    parameters: dict[str, str | None] = {"Stage": "rehearsal", "ProtectTables": "false"}
    said: list[str] = []
    for _ in range(2):
        deploy_stack(
            cloudformation,
            "ballast-rehearsal-core",
            read_template("core.yaml"),
            parameters,
            said.append,
            no_pause,
        )
    dynamodb = boto3.client("dynamodb", region_name="us-east-1")
    assert set(dynamodb.list_tables()["TableNames"]) == {
        table.full_name("ballast-rehearsal") for table in TABLES
    }
    ttl = dynamodb.describe_time_to_live(TableName="ballast-rehearsal-events")
    assert ttl["TimeToLiveDescription"]["TimeToLiveStatus"] == "ENABLED"
    kms = boto3.client("kms", region_name="us-east-1")
    key = kms.describe_key(KeyId="alias/ballast-rehearsal")["KeyMetadata"]
    assert key["KeySpec"] == "SYMMETRIC_DEFAULT"
    assert "AlertsTopicArn" in (find_stack(cloudformation, "ballast-rehearsal-core") or {})
