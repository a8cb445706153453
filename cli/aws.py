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
