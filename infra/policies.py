"""IAM policies of the functions, from one table of what each may do.

`python -m infra.policies --stage prod` writes `.chalice/policy-STAGE-FUNCTION.json`; a test holds
the files to this table, and another one holds the table to the AWS calls that the code makes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CHALICE = Path(__file__).parent.parent / ".chalice"

READ = ("dynamodb:GetItem", "dynamodb:Query")
Statement = Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """Actions on one resource, named without partition, region, account and stage."""

    sid: str
    actions: tuple[str, ...]
    resource: str  # with {stage}
    condition: Mapping[str, Mapping[str, str]] | None = None

    def statement(self, stage: str) -> Statement:
        """The IAM statement for a stage."""
        statement: dict[str, object] = {
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": sorted(self.actions),
            "Resource": self.resource.format(stage=stage),
        }
        if self.condition:
            statement["Condition"] = {
                operator: {key: value.format(stage=stage) for key, value in pairs.items()}
                for operator, pairs in self.condition.items()
            }
        return statement


def table(name: str, *actions: str) -> Grant:
    """Actions on one of Ballast's tables."""
    return Grant(
        sid=f"{name.capitalize()}Table",
        actions=actions,
        resource=f"arn:aws:dynamodb:*:*:table/ballast-{{stage}}-{name}",
    )


def unwrap(what: str) -> Grant:
    """Decrypt what was wrapped for one purpose: the encryption context says which."""
    return Grant(
        sid=f"Unwrap{what.capitalize()}",
        actions=("kms:Decrypt",),
        resource="arn:aws:kms:*:*:key/*",
        condition={
            "ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/ballast-{stage}"},
            "StringEquals": {"kms:EncryptionContext:ballast": what},
        },
    )


UNWRAP_WORKER_TOKENS = unwrap("worker")
UNWRAP_LABELS = unwrap("intent")
UNWRAP_INDEX = unwrap("index")
PROVE_KEYS = unwrap("caller")
"""With it one makes callers' keys; everybody checks them with the public half."""
UNWRAP_SIGNING_KEYS = unwrap("signing")
SIGN_IN_KMS = Grant(
    sid="SignInKms",
    actions=("kms:Sign",),
    resource="arn:aws:kms:*:*:key/*",
    condition={"StringEquals": {"aws:ResourceTag/ballast": "ballast-{stage}"}},
)
VAST_KEY = Grant(
    sid="VastKey",
    actions=("secretsmanager:GetSecretValue",),
    resource="arn:aws:secretsmanager:*:*:secret:ballast-{stage}/vast-api-key-*",
)
POKE = Grant(
    sid="PokeScaler",
    actions=("lambda:InvokeFunction",),
    resource="arn:aws:lambda:*:*:function:ballast-{stage}-scaler",
)


def alerts(*actions: str) -> Grant:
    """Actions on the alert topic."""
    return Grant(sid="Alerts", actions=actions, resource="arn:aws:sns:*:*:ballast-{stage}-alerts*")


WRITE = ("dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem")

FUNCTIONS: Mapping[str, tuple[Grant, ...]] = {
    "hot": (
        table("workers", *READ, "dynamodb:UpdateItem"),
        table("routing", *READ, *WRITE),
        table("keys", "dynamodb:GetItem"),
        UNWRAP_WORKER_TOKENS,
        UNWRAP_INDEX,
        UNWRAP_SIGNING_KEYS,
        POKE,
    ),
    "reports": (
        table("workers", *READ, "dynamodb:UpdateItem"),
        table("routing", *READ, "dynamodb:PutItem", "dynamodb:UpdateItem"),
        table("keys", "dynamodb:GetItem"),
        table("events", "dynamodb:BatchWriteItem"),
        UNWRAP_WORKER_TOKENS,
        POKE,
    ),
    "management": (
        table("config", *READ, *WRITE),
        table("workers", *READ),
        table("routing", "dynamodb:Query", "dynamodb:PutItem"),
        table("ledger", *READ, "dynamodb:PutItem"),
        table("events", "dynamodb:Query", "dynamodb:BatchWriteItem"),
        table("keys", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Scan"),
        PROVE_KEYS,
        POKE,
        alerts("sns:Publish", "sns:Subscribe", "sns:Unsubscribe", "sns:ListSubscriptionsByTopic"),
    ),
    "notifier": (
        table("config", "dynamodb:Query"),
        table("events", "dynamodb:BatchWriteItem"),
        alerts("sns:ListSubscriptionsByTopic"),
    ),
    "scaler": (
        table("config", *READ, "dynamodb:PutItem", "dynamodb:DeleteItem"),
        table("workers", *READ, "dynamodb:Scan", *WRITE),
        table("routing", *READ, "dynamodb:Scan", "dynamodb:PutItem"),
        table("ledger", *READ, "dynamodb:PutItem", "dynamodb:ConditionCheckItem"),
        table("events", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:BatchWriteItem"),
        table("keys", "dynamodb:GetItem"),
        UNWRAP_WORKER_TOKENS,
        UNWRAP_LABELS,
        VAST_KEY,
        alerts("sns:Publish", "sns:ListSubscriptionsByTopic"),
    ),
}
"""Split profile: one policy a function. The single-API profile gives the API handler the union of
hot, reports and management, and still never the Vast key."""

LOGS: Statement = {
    "Sid": "Logs",
    "Effect": "Allow",
    "Action": ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
    "Resource": "arn:aws:logs:*:*:log-group:/aws/lambda/ballast-*",
}


def merge(grants: Iterable[Grant]) -> tuple[Grant, ...]:
    """One grant per sid, with the union of the actions."""
    merged: dict[str, Grant] = {}
    for grant in grants:
        known = merged.get(grant.sid)
        actions = tuple(sorted({*grant.actions, *(known.actions if known else ())}))
        merged[grant.sid] = Grant(
            sid=grant.sid, actions=actions, resource=grant.resource, condition=grant.condition
        )
    return tuple(merged[sid] for sid in sorted(merged))


def grants_of(function: str, signer: str) -> tuple[Grant, ...]:
    """What a function may do; who unwraps signing keys may sign in KMS where that is the choice.

    Raises:
        KeyError: an unknown function.
    """
    grants = FUNCTIONS[function]
    return (*grants, SIGN_IN_KMS) if signer == "kms" and UNWRAP_SIGNING_KEYS in grants else grants


def signer_of(stage: str, folder: Path = CHALICE) -> str:
    """Which signer the stage's functions are told to use in Chalice's config."""
    stages = json.loads((folder / "config.json").read_text())["stages"]
    variables: Mapping[str, str] = stages.get(stage, {}).get("environment_variables", {})
    return variables.get("BALLAST_SIGNER", "wrapped")


def policy(functions: Sequence[str], stage: str, signer: str = "wrapped") -> dict[str, object]:
    """The policy document of a Lambda that serves these functions' routes.

    Raises:
        KeyError: an unknown function.
    """
    grants = merge(grant for name in functions for grant in grants_of(name, signer))
    return {
        "Version": "2012-10-17",
        "Statement": [LOGS, *(grant.statement(stage) for grant in grants)],
    }


LAMBDAS: Mapping[str, tuple[str, ...]] = {
    "api": ("hot", "reports", "management"),
    "hot": ("hot",),
    "reports": ("reports",),
    "scaler": ("scaler",),
    "notifier": ("notifier",),
}
"""Policy file by Lambda; the single-API profile's handler is `api`. In the split profile the edge
sends it management's routes only, and `--split` takes the other functions' rights away from it."""


def documents(stage: str, *, split: bool, signer: str = "wrapped") -> dict[str, dict[str, object]]:
    """File name → policy for a stage."""
    lambdas = {**LAMBDAS, "api": ("management",)} if split else LAMBDAS
    return {
        f"policy-{stage}-{name}.json": policy(of, stage, signer) for name, of in lambdas.items()
    }


def write(stage: str, *, split: bool, folder: Path = CHALICE) -> list[Path]:
    """Write the policy files of a stage and name them."""
    paths = []
    signer = signer_of(stage, folder)
    for name, document in documents(stage, split=split, signer=signer).items():
        path = folder / name
        path.write_text(json.dumps(document, indent=2) + "\n")
        paths.append(path)
    return paths


def main() -> None:
    """Write the policy files of one stage."""
    parser = argparse.ArgumentParser(prog="python -m infra.policies", description=__doc__)
    parser.add_argument("--stage", default="dev")
    parser.add_argument("--split", action="store_true", help="the edge stack sends hot routes away")
    arguments = parser.parse_args()
    for path in write(arguments.stage, split=arguments.split):
        print(path)


if __name__ == "__main__":
    main()
