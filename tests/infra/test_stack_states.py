"""A deploy that fails inside a stack, or meets one in any state, ends deployed when repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3
import pytest
from cfnlint.decode.cfn_yaml import loads

from chalicelib import wiring
from chalicelib.adapters.aws.tables import TABLES
from infra.account import Aws
from infra.core_stack import deploy_core
from infra.stacks import (
    INFRA,
    StackError,
    delete_stack,
    deploy_stack,
    read_template,
    stack_status,
)
from infra.undeploy import undeploy
from lab.local.moto_plus.stacks import failing
from tests.infra.test_resuming import CutOffError, Cutter, checkout, cutter, run, session
from tests.infra.test_stacks import no_pause

__all__ = ["checkout", "cutter"]  # fixtures

REASON = (
    "Resource handler returned message: no such luck (HandlerErrorCode: GeneralServiceException)"
)
CORE = "ballast-dev-core"


def resources_of(template: str) -> list[str]:
    return sorted(loads((INFRA / template).read_text())["Resources"])


def tables() -> set[str]:
    return set(boto3.client("dynamodb").list_tables()["TableNames"])


@pytest.fixture
def account(aws: None) -> Aws:
    """An empty account."""
    return Aws(boto3.Session(region_name="us-east-1"), no_pause)


def assert_core_stands(account: Aws) -> None:
    assert stack_status(account.client("cloudformation"), CORE) == "UPDATE_COMPLETE"
    client = account.client("dynamodb")
    assert tables() == {table.full_name("ballast-dev") for table in TABLES}
    config = client.describe_table(TableName="ballast-dev-config")["Table"]
    assert config["DeletionProtectionEnabled"]
    account.client("kms").describe_key(KeyId="alias/ballast-dev")
    account.client("secretsmanager").describe_secret(SecretId="ballast-dev/vast-api-key")


@pytest.mark.parametrize("logical_id", resources_of("core.yaml"))
def test_a_core_stack_that_fails_at_a_resource_says_why_and_the_next_run_makes_it(
    account: Aws, logical_id: str
) -> None:
    said: list[str] = []
    with failing(logical_id, REASON), pytest.raises(StackError) as failed:
        deploy_core(account, "dev", said.append, protect=True)
    assert f"{logical_id} " in str(failed.value)
    assert REASON in str(failed.value)
    assert "Waiter" not in str(failed.value)
    assert tables() == set()  # nothing is left to collide with
    deploy_core(account, "dev", said.append, protect=True)
    assert_core_stands(account)
    assert any("never stood (ROLLBACK_COMPLETE)" in line for line in said)


def test_an_update_that_fails_is_rolled_back_told_and_tried_again(account: Aws) -> None:
    said: list[str] = []
    with failing("LedgerTable", REASON), pytest.raises(StackError):
        deploy_core(account, "dev", said.append, protect=False)
    deploy_core(account, "dev", said.append, protect=False)
    with failing("LedgerTable", REASON), pytest.raises(StackError, match="UPDATE_ROLLBACK"):
        deploy_core(account, "dev", said.append, protect=True)
    deploy_core(account, "dev", said.append, protect=True)
    assert_core_stands(account)


def test_a_rollback_that_protection_stopped_is_finished(account: Aws) -> None:
    """The CI path may create protected tables; CloudFormation cannot delete these."""
    cloudformation = account.client("cloudformation")
    with failing("WrappingKey", REASON), pytest.raises(StackError):
        deploy_stack(
            cloudformation,
            CORE,
            read_template("core.yaml"),
            {"Stage": "dev", "ProtectTables": "true"},
            list[str]().append,
            no_pause,
        )
    assert stack_status(cloudformation, CORE) == "ROLLBACK_FAILED"
    deploy_core(account, "dev", list[str]().append, protect=True)
    assert_core_stands(account)


def test_a_stack_that_is_at_work_is_waited_for(account: Aws) -> None:
    cloudformation = account.client("cloudformation")
    cloudformation.create_stack(
        StackName=CORE,
        TemplateBody=(INFRA / "core.yaml").read_text(),
        Parameters=[{"ParameterKey": "Stage", "ParameterValue": "dev"}],
    )
    said: list[str] = []
    deploy_core(account, "dev", said.append, protect=True)
    assert any("is at work (CREATE_IN_PROGRESS): waiting" in line for line in said)
    assert_core_stands(account)


def test_a_change_set_that_nobody_executed_is_cleared_away(account: Aws) -> None:
    """What `aws cloudformation deploy` leaves when it is cut off."""
    account.client("cloudformation").create_change_set(
        StackName=CORE,
        ChangeSetName="cut-off",
        ChangeSetType="CREATE",
        TemplateBody=(INFRA / "core.yaml").read_text(),
        Parameters=[{"ParameterKey": "Stage", "ParameterValue": "dev"}],
    )
    deploy_core(account, "dev", list[str]().append, protect=True)
    assert_core_stands(account)


def test_what_a_deleted_core_stack_left_is_adopted_with_its_data(account: Aws) -> None:
    said: list[str] = []
    deploy_core(account, "dev", said.append, protect=True)
    key = account.client("kms").describe_key(KeyId="alias/ballast-dev")["KeyMetadata"]["KeyId"]
    item = {"kind": {"S": "k"}, "id": {"S": "i"}}
    account.client("dynamodb").put_item(TableName="ballast-dev-config", Item=item)
    delete_stack(account.client("cloudformation"), CORE, said.append, no_pause)
    assert len(tables()) == len(TABLES)
    deploy_core(account, "dev", said.append, protect=True)
    assert_core_stands(account)
    found = account.client("dynamodb").get_item(TableName="ballast-dev-config", Key=item)
    assert found["Item"] == item
    again = account.client("kms").describe_key(KeyId="alias/ballast-dev")["KeyMetadata"]["KeyId"]
    assert again == key  # another key could not open the tables
    assert any("adopting" in line for line in said)


LATER = [
    *(("edge", one) for one in ("DefaultStage", "RouteRoute", "MayCallHot")),
    *(("ops", one) for one in ("RoundsMissing", "MayCallNotifier")),
]


@pytest.mark.parametrize(("stack", "logical_id"), LATER)
def test_a_failure_in_a_later_stack_is_told_and_mended_by_the_next_run(
    cutter: Cutter, checkout: Path, stack: str, logical_id: str
) -> None:
    said: list[str] = []
    with failing(logical_id, REASON), pytest.raises(StackError, match=logical_id):
        run(cutter, checkout, said)
    if stack == "edge":  # alarms are there whatever becomes of the edge
        alarms = boto3.client("cloudwatch").describe_alarms()["MetricAlarms"]
        assert "ballast-dev-RoundsMissing" in {alarm["AlarmName"] for alarm in alarms}
    assert run(cutter, checkout, said)["url"].startswith("https://")


# ------------------------------------------------------------------------------------ undeploy


def left_over() -> dict[str, Any]:
    """All of the stage that is in the account."""
    keys = boto3.client("kms")
    states = [keys.describe_key(KeyId=k["KeyId"])["KeyMetadata"] for k in keys.list_keys()["Keys"]]
    stacks = boto3.client("cloudformation").describe_stacks()["Stacks"]
    return {
        "tables": sorted(tables()),
        "secrets": [s["Name"] for s in boto3.client("secretsmanager").list_secrets()["SecretList"]],
        "keys": [
            k["KeyId"]
            for k in states
            if k["Description"].startswith("Ballast") and k["KeyState"] != "PendingDeletion"
        ],
        "aliases": [
            a["AliasName"]
            for a in keys.list_aliases()["Aliases"]
            if a["AliasName"].startswith("alias/ballast")
        ],
        "topics": boto3.client("sns").list_topics()["Topics"],
        "logs": boto3.client("logs").describe_log_groups()["logGroups"],
        "alarms": boto3.client("cloudwatch").describe_alarms()["MetricAlarms"],
        "apis": boto3.client("apigatewayv2").get_apis()["Items"],
        "stacks": [s["StackName"] for s in stacks],
    }


def remove(cutter: Cutter, checkout: Path, said: list[str], *, delete_data: bool) -> None:
    """`make undeploy`; Chalice's part is done, for its stand-in made the functions."""
    functions = boto3.client("lambda")
    for found in functions.list_functions()["Functions"]:
        functions.delete_function(FunctionName=found["FunctionName"])
    undeploy(
        "dev", session(cutter), said.append, delete_data=delete_data, chalice=lambda *_, **__: None
    )


def test_a_removal_keeps_the_data_and_says_so_and_one_with_the_data_leaves_nothing(
    cutter: Cutter, checkout: Path
) -> None:
    said: list[str] = []
    run(cutter, checkout, said, protect_tables=True)
    remove(cutter, checkout, said, delete_data=False)
    kept = left_over()
    assert len(kept["tables"]) == len(TABLES)
    assert kept["secrets"] == ["ballast-dev/vast-api-key"]
    assert "secret ballast-dev/vast-api-key with the Vast key ($0.40 a month)" in said[-1]
    assert "the KMS key ($1.00 a month)" in said[-1]
    remove(cutter, checkout, said, delete_data=True)
    assert not any(left_over().values()), left_over()
    assert said[-1] == "nothing of stage dev is left that bills or is secret"
    again: list[str] = []
    assert run(cutter, checkout, again)["admin_key"]


@pytest.mark.long
def test_a_removal_that_is_cut_off_before_any_call_is_finished_by_the_next(
    cutter: Cutter, checkout: Path
) -> None:
    said: list[str] = []
    run(cutter, checkout, said, protect_tables=True)
    cutter.is_on = True
    for _ in range(120):
        try:
            remove(cutter, checkout, said, delete_data=True)
        except CutOffError:
            continue
        break
    cutter.is_on = False
    assert {"DeleteTable", "DeleteSecret", "ScheduleKeyDeletion", "DeleteAlias"} <= set(
        cutter.cut_at.values()
    )
    assert not any(left_over().values()), left_over()
    wiring.reset()
    assert run(cutter, checkout, said)["admin_key"]


@pytest.mark.long
def test_a_removal_that_was_cut_off_does_not_keep_the_stage_from_being_deployed(
    cutter: Cutter, checkout: Path
) -> None:
    for cut in ("DeleteTable", "DeleteSecret", "ScheduleKeyDeletion", "DeleteAlias"):
        said: list[str] = []
        run(cutter, checkout, said)
        cutter.is_on = True
        while cut not in cutter.cut_at.values():
            try:
                remove(cutter, checkout, said, delete_data=True)
            except CutOffError:
                continue
        cutter.is_on = False
        cutter.cut_at.clear()
        run(cutter, checkout, said)
        assert wiring.api_ports().ledger.account().caps_microusd_per_hour == 1_500_000
