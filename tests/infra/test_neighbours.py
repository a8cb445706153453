"""What is beside a stage: other stages, other places, and what its owner did by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from cfnlint.decode.cfn_yaml import loads

from chalicelib import wiring
from chalicelib.adapters.aws.clients import aws_session
from chalicelib.adapters.aws.tables import create_tables
from infra.account import Aws, DeployError
from infra.bootstrap import main as make_keys
from infra.core_stack import deploy_core, leftovers
from infra.deploy import STAGE_NAMES, check_checkout
from infra.restore import main as restore
from infra.stacks import INFRA, delete_stack
from infra.undeploy import main as undeploy_by_hand
from infra.undeploy import undeploy
from tests.infra.test_resuming import Cutter, checkout, cutter, run
from tests.infra.test_stack_states import CORE, account, left_over, remove, tables
from tests.infra.test_stacks import no_pause

__all__ = ["account", "checkout", "cutter"]  # fixtures


def test_the_tables_of_a_stage_whose_name_goes_on_are_not_taken_over(account: Aws) -> None:
    create_tables(boto3.client("dynamodb", region_name="us-east-1"), "ballast-dev-eu")
    assert leftovers(account, "dev") == []
    said: list[str] = []
    undeploy("dev", account, said.append, delete_data=True, chalice=lambda *_, **__: None)
    assert said[-1] == "nothing of stage dev is left that bills or is secret"
    assert len(tables()) == 6


@pytest.mark.parametrize("stage", ["Prod", "prod-eu", "1st", "", "a" * 17, "prod.eu", "prod\n"])
def test_a_stage_whose_name_cannot_be_is_refused_before_anything_is_made(
    stage: str, checkout: Path
) -> None:
    with pytest.raises(DeployError, match="lower-case letter"):
        check_checkout(stage, checkout)


def test_the_stack_takes_the_stages_that_the_deployment_takes() -> None:
    parameters = loads((INFRA / "core.yaml").read_text())["Parameters"]
    assert parameters["Stage"]["AllowedPattern"] == STAGE_NAMES


@pytest.mark.parametrize("place", ["eu-central-1:123456789012", "us-east-1:210987654321"])
def test_a_record_of_another_place_is_not_taken_for_this_one(
    cutter: Cutter, checkout: Path, account: Aws, place: str
) -> None:
    """Chalice would find nothing here, and forget what is there."""
    record = checkout / ".chalice" / "deployed" / "dev.json"
    record.parent.mkdir(exist_ok=True)
    arn = f"arn:aws:lambda:{place}:function:ballast-dev-hot"
    record.write_text(
        json.dumps({"resources": [{"resource_type": "lambda_function", "lambda_arn": arn}]})
    )
    region, number = place.split(":")
    with pytest.raises(DeployError, match=f"account {number}, region {region}"):
        run(cutter, checkout, [])
    assert tables() == set()
    with pytest.raises(DeployError, match="AWS_PROFILE"):
        undeploy("dev", account, list[str]().append, root=checkout)
    assert record.exists()


def test_a_secret_that_waits_for_its_deletion_stops_no_removal_and_no_silent_deploy(
    cutter: Cutter, checkout: Path
) -> None:
    said: list[str] = []
    run(cutter, checkout, said)
    secrets = boto3.client("secretsmanager")
    secrets.delete_secret(SecretId="ballast-dev/vast-api-key", RecoveryWindowInDays=30)
    remove(cutter, checkout, said, delete_data=False)
    remove(cutter, checkout, said, delete_data=True)
    assert not any(left_over().values()), left_over()
    remove(cutter, checkout, said, delete_data=True)  # twice
    assert said[-1] == "nothing of stage dev is left that bills or is secret"
    assert run(cutter, checkout, said)["admin_key"]


def test_a_key_that_is_to_be_deleted_under_its_tables_is_told_with_the_way_back(
    account: Aws,
) -> None:
    """A new key could not open them: the keys of workers and callers would be lost for good."""
    said: list[str] = []
    deploy_core(account, "dev", said.append, protect=True)
    kms = account.client("kms")
    key = kms.describe_key(KeyId="alias/ballast-dev")["KeyMetadata"]["KeyId"]
    delete_stack(account.client("cloudformation"), CORE, said.append, no_pause)
    kms.schedule_key_deletion(KeyId=key)
    with pytest.raises(DeployError, match=f"cancel-key-deletion --key-id {key}"):
        deploy_core(account, "dev", said.append, protect=True)
    kms.cancel_key_deletion(KeyId=key)
    kms.enable_key(KeyId=key)
    deploy_core(account, "dev", said.append, protect=True)
    assert kms.describe_key(KeyId="alias/ballast-dev")["KeyMetadata"]["KeyId"] == key


def test_what_is_kept_is_told_with_its_log_groups(cutter: Cutter, checkout: Path) -> None:
    said: list[str] = []
    run(cutter, checkout, said)
    remove(cutter, checkout, said, delete_data=False)
    assert f"{len(left_over()['logs'])} log groups (by size)" in said[-1]


@pytest.mark.parametrize("command", [make_keys, restore, undeploy_by_hand])
def test_keys_machines_and_data_are_those_of_a_stage_that_was_named(
    command: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["it"])
    with pytest.raises(SystemExit) as refused:
        command()
    assert refused.value.code == 2


def test_a_right_that_is_missing_is_named_wherever_it_is_missed(
    cutter: Cutter, checkout: Path
) -> None:
    """A port's error says to callers that DynamoDB refused; its owner has to know what."""
    run(cutter, checkout, [])

    def deny(model: Any, **_: object) -> None:
        words = f"not authorized to perform: dynamodb:{model.name}"
        answer = {"Error": {"Code": "AccessDeniedException", "Message": words}}
        raise ClientError(answer, model.name)  # type: ignore[arg-type]

    wiring.reset()
    aws_session().register("before-call.dynamodb.GetItem", deny)
    with pytest.raises(SystemExit, match=r"not authorized to perform: dynamodb:GetItem"):
        make_keys(["--stage", "dev"])
