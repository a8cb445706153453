"""Least privilege: the policy files are the table's, and the table is narrow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra import policies


def actions(function: str) -> set[str]:
    """Every action that a Lambda's policy allows."""
    statements: Any = policies.policy(policies.LAMBDAS[function], "dev")["Statement"]
    return {action for statement in statements for action in statement["Action"]}


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_policy_files_are_what_the_table_says(stage: str) -> None:
    for name, document in policies.documents(stage, split=False).items():
        path = policies.CHALICE / name
        assert json.loads(path.read_text()) == document, f"run python -m infra.policies: {name}"


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_every_function_of_a_stage_has_its_own_policy_file(stage: str) -> None:
    config = json.loads((policies.CHALICE / "config.json").read_text())["stages"][stage]
    functions = config["lambda_functions"]
    assert functions["api_handler"]["iam_policy_file"] == f"policy-{stage}-api.json"
    assert functions["hot"]["iam_policy_file"] == f"policy-{stage}-hot.json"
    assert functions["reports"]["iam_policy_file"] == f"policy-{stage}-reports.json"
    for name in ("scaler", "scaling_loop"):
        assert functions[name]["iam_policy_file"] == f"policy-{stage}-scaler.json"
        assert functions[name]["environment_variables"]["BALLAST_ROLE"] == "scaler"
    roles = {
        name: f.get("environment_variables", {}).get("BALLAST_ROLE", "")
        for name, f in functions.items()
    }
    assert [name for name, role in roles.items() if role == "scaler"] == ["scaler", "scaling_loop"]


def test_only_the_scaler_reads_the_vast_key() -> None:
    readers = {
        name for name in policies.LAMBDAS if "secretsmanager:GetSecretValue" in actions(name)
    }
    assert readers == {"scaler"}


def test_no_policy_has_a_wildcard_action_or_resource() -> None:
    for name in policies.LAMBDAS:
        statements: Any = policies.policy(policies.LAMBDAS[name], "dev")["Statement"]
        for statement in statements:
            assert statement["Resource"] != "*"
            assert not [action for action in statement["Action"] if "*" in action]


def test_kms_is_usable_only_through_the_stage_s_alias() -> None:
    for name in policies.LAMBDAS:
        statements: Any = policies.policy(policies.LAMBDAS[name], "dev")["Statement"]
        for statement in statements:
            if any(action.startswith("kms:") for action in statement["Action"]):
                condition = statement["Condition"]["ForAnyValue:StringEquals"]
                assert condition == {"kms:ResourceAliases": "alias/ballast-dev"}


def test_in_the_split_profile_the_hot_function_alone_unwraps_signing_keys() -> None:
    holders = set()
    for name, document in policies.documents("dev", split=True).items():
        statements: Any = document["Statement"]
        if "UnwrapSigning" in {statement["Sid"] for statement in statements}:
            holders.add(name)
    assert holders == {"policy-dev-hot.json"}


@pytest.mark.parametrize("split", [True, False])
def test_signing_inside_kms_is_for_those_who_may_unwrap_and_for_our_keys_alone(
    split: bool, tmp_path: Path
) -> None:
    variables = {"BALLAST_SIGNER": "kms"}
    config = {"stages": {"dev": {"environment_variables": variables}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    holders = set()
    for path in policies.write("dev", split=split, folder=tmp_path):
        for statement in json.loads(path.read_text())["Statement"]:
            if "kms:Sign" in statement["Action"]:
                holders.add(path.name)
                condition = statement["Condition"]["StringEquals"]
                assert condition == {"aws:ResourceTag/ballast": "ballast-dev"}
    assert holders == {"policy-dev-hot.json"} | (set() if split else {"policy-dev-api.json"})
