"""AWS with the owner's own credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from types_boto3_secretsmanager import SecretsManagerClient
    from types_boto3_sts import STSClient

_CONFIG = Config(connect_timeout=5, read_timeout=15, retries={"total_max_attempts": 2})


def secrets_client() -> SecretsManagerClient:
    """Secrets Manager in the owner's region."""
    return boto3.client("secretsmanager", config=_CONFIG)


def identity_client() -> STSClient:
    """Who the owner is."""
    return boto3.client("sts", config=_CONFIG)


def concurrency_quota() -> int:
    """Lambda executions that the owner's account may have at once.

    Raises:
        ClientError: the owner may not ask.
    """
    settings = boto3.client("lambda", config=_CONFIG).get_account_settings()
    return int(settings["AccountLimit"]["ConcurrentExecutions"])


def describe_table(name: str) -> None:
    """Look at a table.

    Raises:
        ClientError: it is not there, or the owner may not look.
    """
    boto3.client("dynamodb", config=_CONFIG).describe_table(TableName=name)


def describe_key(alias: str) -> None:
    """Look at a KMS key.

    Raises:
        ClientError: as `describe_table`.
    """
    boto3.client("kms", config=_CONFIG).describe_key(KeyId=alias)


def describe_secret(name: str) -> None:
    """Look at a secret, not at its value.

    Raises:
        ClientError: as `describe_table`.
    """
    secrets_client().describe_secret(SecretId=name)
