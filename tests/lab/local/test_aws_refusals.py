"""What AWS refuses, the emulator refuses too: one test a rule of docs/internals/aws-rules.md."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

import lab.local.moto_plus  # noqa: F401  corrects moto
from lab.local.moto_plus.functions import MAX_ENVIRONMENT_BYTES, MAX_UNZIPPED_BYTES, MAX_ZIP_BYTES

REGION = "us-east-1"
ROLE = {"Version": "2012-10-17", "Statement": []}


def code_of(refused: pytest.ExceptionInfo[ClientError]) -> str:
    return refused.value.response["Error"]["Code"]


# ------------------------------------------------------------------------------- CloudFormation


def failures(resources: dict[str, Any]) -> list[str]:
    """Reasons for which a stack of these resources rolls back; none if it stands."""
    client = boto3.client("cloudformation", region_name=REGION)
    client.create_stack(StackName="tried", TemplateBody=json.dumps({"Resources": resources}))
    while True:
        status = client.describe_stacks(StackName="tried")["Stacks"][0]["StackStatus"]
        if not status.endswith("_IN_PROGRESS"):
            break
    events = client.describe_stack_events(StackName="tried")["StackEvents"]
    reasons = [e["ResourceStatusReason"] for e in events if e["ResourceStatus"] == "CREATE_FAILED"]
    assert status == ("ROLLBACK_COMPLETE" if reasons else "CREATE_COMPLETE")
    return reasons


PARAMETERS: dict[str, Any] = {
    "Stage": {
        "Type": "String",
        "AllowedPattern": "[a-z][a-z0-9]{0,15}",
        "ConstraintDescription": "a lower-case letter first",
    },
    "Plain": {"Type": "String", "AllowedPattern": "[a-z]+", "Default": "a"},
    "Protect": {"Type": "String", "AllowedValues": ["true", "false"], "Default": "false"},
    "Rate": {"Type": "Number", "Default": 1, "MinValue": 1, "MaxValue": 9},
    "Word": {"Type": "String", "Default": "abc", "MinLength": 2, "MaxLength": 4},
}
REFUSED_VALUES = {
    "Parameter Stage failed to satisfy constraint: a lower-case letter first": {"Stage": "Dev"},
    "Parameters: .Stage. must have values": {},
    "Parameters: .Other. do not exist in the template": {"Stage": "dev", "Other": "1"},
    "'Plain' must match pattern": {"Stage": "dev", "Plain": "ab\n"},
    "'Protect' must be one of": {"Stage": "dev", "Protect": "True"},
    "'Rate' must be a number": {"Stage": "dev", "Rate": "10 %"},
    "'Rate' must be a number 1 to 9": {"Stage": "dev", "Rate": "10"},
    "'Word' must be as long as 2 to 4": {"Stage": "dev", "Word": "a"},
}
TOPIC = {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": {"Fn::Sub": "a-${Stage}"}}}


def stack_of(resources: dict[str, Any], **parameters: str) -> dict[str, Any]:
    return {
        "StackName": "tried",
        "TemplateBody": json.dumps({"Parameters": PARAMETERS, "Resources": resources}),
        "Parameters": [{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
    }


@pytest.mark.parametrize("why", REFUSED_VALUES)
def test_a_stack_takes_no_parameter_that_its_template_refuses(aws: None, why: str) -> None:
    """Made, changed, or only proposed."""
    client = boto3.client("cloudformation", region_name=REGION)
    refused = stack_of({"Topic": TOPIC}, **REFUSED_VALUES[why])
    with pytest.raises(ClientError, match=why):
        client.create_stack(**refused)
    with pytest.raises(ClientError, match=why):
        client.create_change_set(**refused, ChangeSetName="tried", ChangeSetType="CREATE")
    client.create_stack(**stack_of({"Topic": TOPIC}, Stage="dev", Rate="9", Protect="true"))
    with pytest.raises(ClientError, match=why):
        client.update_stack(**refused)


def topic(**changes: Any) -> dict[str, Any]:
    return {**TOPIC, **changes}


REFUSED_TEMPLATES: dict[str, dict[str, Any]] = {
    "dependencies .Stagge. in the Resources block": {
        "T": topic(Properties={"TopicName": {"Fn::Sub": "${Stagge}-${AWS::Region}"}})
    },
    "dependencies .Nobody. in the Resources block": {"T": topic(DependsOn=["Nobody"])},
    "dependencies .Nowhere. in": {
        "T": topic(Properties={"TopicName": {"Fn::GetAtt": ["Nowhere", "Arn"]}})
    },
    "Circular dependency between resources": {
        "One": topic(DependsOn="Two"),
        "Two": topic(Properties={"TopicName": {"Ref": "One"}}),
    },
    "less than or equal to 51200": {"T": topic(Metadata={"text": "x" * 51_200})},
}


@pytest.mark.parametrize("why", REFUSED_TEMPLATES)
def test_a_template_that_refers_to_nothing_or_is_too_long_makes_no_stack(
    aws: None, why: str
) -> None:
    client = boto3.client("cloudformation", region_name=REGION)
    with pytest.raises(ClientError, match=why):
        client.create_stack(**stack_of(REFUSED_TEMPLATES[why], Stage="dev"))
    assert client.describe_stacks()["Stacks"] == []


def test_a_name_has_the_length_that_its_service_takes(aws: None) -> None:
    named = {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "t" * 257}}
    (reason,) = failures({"Topic": named})
    assert "less than or equal to 256" in reason
    with pytest.raises(ClientError, match="less than or equal to 64"):
        make_function(zipped(1, packed=True), {}, name="f" * 65)


def http_api(route_key: str, settings_for: str) -> dict[str, Any]:
    api = {"Ref": "Api"}
    integration = {
        "ApiId": api,
        "IntegrationType": "AWS_PROXY",
        "IntegrationMethod": "POST",
        "IntegrationUri": f"arn:aws:lambda:{REGION}:123456789012:function:f",
        "PayloadFormatVersion": "1.0",
        "TimeoutInMillis": 29_000,
    }
    target = {"Fn::Sub": "integrations/${Integration}"}
    settings = {settings_for: {"ThrottlingRateLimit": 1, "ThrottlingBurstLimit": 1}}
    return {
        "Api": {
            "Type": "AWS::ApiGatewayV2::Api",
            "Properties": {"Name": "tried", "ProtocolType": "HTTP"},
        },
        "Integration": {"Type": "AWS::ApiGatewayV2::Integration", "Properties": integration},
        "Route": {
            "Type": "AWS::ApiGatewayV2::Route",
            "Properties": {"ApiId": api, "RouteKey": route_key, "Target": target},
        },
        "Stage": {
            "Type": "AWS::ApiGatewayV2::Stage",
            "DependsOn": ["Route"],
            "Properties": {"ApiId": api, "StageName": "$default", "RouteSettings": settings},
        },
    }


def test_an_http_api_takes_a_route_key_without_slash(aws: None) -> None:
    assert failures(http_api("POST /route", "POST /route")) == []


def test_an_http_api_takes_no_route_key_that_ends_in_a_slash(aws: None) -> None:
    (reason,) = failures(http_api("POST /route/", "POST /route/"))
    assert "POST /route/" in reason


def test_a_stage_takes_no_settings_for_a_route_that_does_not_exist(aws: None) -> None:
    (reason,) = failures(http_api("POST /route", "POST /another"))
    assert "Unable to find Route by key POST /another" in reason


def test_a_log_group_that_a_function_made_fails_the_stack_that_would_make_it(aws: None) -> None:
    boto3.client("logs", region_name=REGION).create_log_group(logGroupName="/aws/lambda/f")
    properties = {"LogGroupName": "/aws/lambda/f"}
    resources = {"Logs": {"Type": "AWS::Logs::LogGroup", "Properties": properties}}
    (reason,) = failures(resources)
    assert "already exists" in reason


# ------------------------------------------------------------------------------------- DynamoDB


def test_a_protected_table_is_deleted_only_when_its_protection_is_off_for_good(aws: None) -> None:
    client = boto3.client("dynamodb", region_name=REGION)
    client.create_table(
        TableName="kept",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        DeletionProtectionEnabled=True,
    )
    with pytest.raises(ClientError, match="protected against deletion"):
        client.delete_table(TableName="kept")
    client.update_table(TableName="kept", DeletionProtectionEnabled=False)
    with pytest.raises(ClientError) as refused:
        client.delete_table(TableName="kept")
    assert code_of(refused) == "ResourceInUseException"
    looks = 0
    while client.describe_table(TableName="kept")["Table"]["TableStatus"] == "UPDATING":
        looks += 1
    assert looks
    client.delete_table(TableName="kept")


# ------------------------------------------------------------------------- secrets, keys, Lambda


def test_a_deleted_secret_keeps_its_name_unless_it_was_forced(aws: None) -> None:
    client = boto3.client("secretsmanager", region_name=REGION)
    client.create_secret(Name="s", SecretString="1")
    client.delete_secret(SecretId="s")
    with pytest.raises(ClientError):
        client.create_secret(Name="s", SecretString="2")
    client.restore_secret(SecretId="s")
    client.delete_secret(SecretId="s", ForceDeleteWithoutRecovery=True)
    client.create_secret(Name="s", SecretString="3")


def test_a_key_waits_a_week_at_least_for_its_deletion(
    aws: None,
) -> None:
    client = boto3.client("kms", region_name=REGION)
    key_id = client.create_key()["KeyMetadata"]["KeyId"]
    with pytest.raises(ClientError):
        client.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=6)
    client.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    state = client.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"]
    assert state == "PendingDeletion"


def zipped(n_bytes: int, *, packed: bool) -> bytes:
    body = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(body, "w", kind, compresslevel=1) as archive:
        archive.writestr("app.py", bytes(n_bytes))
    return body.getvalue()


def make_function(code: bytes, variables: dict[str, str], name: str = "f") -> None:
    iam = boto3.client("iam", region_name=REGION)
    role = iam.create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(ROLE))["Role"]["Arn"]
    boto3.client("lambda", region_name=REGION).create_function(
        FunctionName=name,
        Runtime="python3.11",
        Role=role,
        Handler="app.app",
        Code={"ZipFile": code},
        Environment={"Variables": variables},
    )


def test_an_environment_has_four_kilobytes_at_most(aws: None) -> None:
    with pytest.raises(ClientError, match="4KB limit"):
        make_function(zipped(1, packed=True), {"NAME": "x" * MAX_ENVIRONMENT_BYTES})


@pytest.mark.parametrize(
    ("n_bytes", "packed"), [(MAX_ZIP_BYTES, False), (MAX_UNZIPPED_BYTES + 1, True)]
)
def test_a_package_has_its_bounds_zipped_and_unzipped(
    aws: None, n_bytes: int, packed: bool
) -> None:
    with pytest.raises(ClientError, match="smaller than"):
        make_function(zipped(n_bytes, packed=packed), {})
