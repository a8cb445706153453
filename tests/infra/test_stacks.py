"""Core, edge and operations stacks against corrected moto: resources, not stack status."""

from __future__ import annotations

import json
from collections.abc import Callable

import boto3
import pytest

from infra.lanes import with_lanes
from infra.stacks import delete_stack, deploy_stack, find_stack, read_template
from infra.throttles import throttles_for

REGION = "us-east-1"
ARNS = {
    f"{name}FunctionArn": f"arn:aws:lambda:{REGION}:123456789012:function:ballast-t{suffix}"
    for name, suffix in (("Api", ""), ("Hot", "-hot"), ("Reports", "-reports"))
}

LANES = [f"w-{i:022d}" for i in range(3)]


def no_pause(_seconds: float) -> None:
    """The emulator does not work in real time."""


def edge_parameters() -> dict[str, str | None]:
    throttles = throttles_for(200.0, concurrency=1_000)
    topic = f"arn:aws:sns:{REGION}:123456789012:alerts"
    return {"Stage": "t", "AlertsTopicArn": topic, **ARNS, **throttles.parameters()}


@pytest.fixture
def make_functions(aws: None) -> Callable[[], None]:
    """The Lambda functions that edge permissions name."""

    def make() -> None:
        iam = boto3.client("iam")
        role = iam.create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps({}))
        for arn in ARNS.values():
            boto3.client("lambda", region_name=REGION).create_function(
                FunctionName=arn.rsplit(":", 1)[1],
                Runtime="python3.11",
                Role=role["Role"]["Arn"],
                Handler="app.app",
                Code={"ZipFile": b"code"},
            )

    return make


def test_the_edge_stack_sends_each_route_to_its_own_function(
    make_functions: Callable[[], None],
) -> None:
    make_functions()
    cloudformation = boto3.client("cloudformation", region_name=REGION)
    for _ in range(2):
        deploy_stack(
            cloudformation,
            "ballast-t-edge",
            with_lanes(read_template("edge.yaml"), LANES),
            edge_parameters(),
            list[str]().append,
            no_pause,
        )
    url = (find_stack(cloudformation, "ballast-t-edge") or {})["Url"]
    gateway = boto3.client("apigatewayv2", region_name=REGION)
    apis = gateway.get_apis()["Items"]
    assert len(apis) == 1
    assert apis[0]["ApiId"] in url
    api_id = apis[0]["ApiId"]
    targets = {
        i["IntegrationId"]: i["IntegrationUri"].rsplit(":", 1)[1]
        for i in gateway.get_integrations(ApiId=api_id)["Items"]
    }
    routes = {
        r["RouteKey"]: targets[r["Target"].split("/")[1]]
        for r in gateway.get_routes(ApiId=api_id)["Items"]
    }
    assert routes["POST /route/{proxy+}"] == routes["POST /route"] == "ballast-t-hot"
    assert routes["POST /worker_status/{proxy+}"] == "ballast-t-reports"
    assert routes["POST /delete_requests"] == "ballast-t-reports"
    assert routes["GET /pubkey"] == "ballast-t-hot"
    assert not [key for key in routes if key.endswith("/")]
    assert routes["$default"] == "ballast-t"
    for lane in LANES:
        assert routes[f"POST /{lane}/{{proxy+}}"] == "ballast-t-reports"
        assert routes[f"GET /{lane}/{{proxy+}}"] == "ballast-t"
    stage = gateway.get_stages(ApiId=api_id)["Items"][0]
    assert stage["StageName"] == "$default"
    lanes = {key for key in stage["RouteSettings"] if key.split("/")[1] in LANES}
    assert len(lanes) == 2 * len(LANES)


def test_the_operations_stack_makes_its_alarms_and_deleting_it_removes_them(aws: None) -> None:
    cloudformation = boto3.client("cloudformation", region_name=REGION)
    parameters: dict[str, str | None] = {
        "Stage": "t",
        "AlertsTopicArn": f"arn:aws:sns:{REGION}:123456789012:alerts",
    }
    deploy_stack(
        cloudformation,
        "ballast-t-ops",
        read_template("ops.yaml"),
        parameters,
        list[str]().append,
        no_pause,
    )
    cloudwatch = boto3.client("cloudwatch", region_name=REGION)
    alarms = {a["AlarmName"]: a for a in cloudwatch.describe_alarms()["MetricAlarms"]}
    assert alarms["ballast-t-RoundsMissing"]["TreatMissingData"] == "breaching"
    assert alarms["ballast-t-CapReached"]["AlarmActions"] == [parameters["AlertsTopicArn"]]
    assert cloudwatch.list_dashboards()["DashboardEntries"]
    delete_stack(cloudformation, "ballast-t-ops", list[str]().append, no_pause)
    assert cloudwatch.describe_alarms()["MetricAlarms"] == []
