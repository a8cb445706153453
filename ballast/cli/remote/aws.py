"""AWS with the owner's own credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
from botocore import exceptions as sdk
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.adapters.aws.clients import bounded

if TYPE_CHECKING:
    from types_boto3_secretsmanager import SecretsManagerClient
    from types_boto3_sts import STSClient

CREDENTIALS_FIX = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_DEFAULT_REGION"
ANSWER_S = 15.0
_CONFIG = Config(connect_timeout=5, read_timeout=ANSWER_S, retries={"total_max_attempts": 2})


# https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html, and the services' own.
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_UNKNOWN = frozenset(
    {"InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch",
     "InvalidSignatureException", "InvalidAccessKeyId", "IncompleteSignature"}
)  # fmt: skip
# botocore/retries/standard.py, ThrottledRetryableChecker: it has tried again already.
_BUSY = frozenset(
    {"Throttling", "ThrottlingException", "ThrottledException", "RequestThrottledException",
     "TooManyRequestsException", "ProvisionedThroughputExceededException", "RequestLimitExceeded",
     "RequestThrottled", "SlowDown", "PriorRequestNotComplete"}
)  # fmt: skip
_OWN: tuple[tuple[tuple[type[Exception], ...], str, str], ...] = (
    (
        (sdk.SSOError, sdk.TokenRetrievalError, sdk.CredentialRetrievalError),
        "not signed in to AWS",
        "sign in again: `aws sso login`",
    ),
    (
        (sdk.NoCredentialsError, sdk.PartialCredentialsError, sdk.ProfileNotFound),
        "no AWS credentials",
        CREDENTIALS_FIX,
    ),
    (
        (sdk.NoRegionError, sdk.InvalidRegionError),
        "no AWS region",
        "export AWS_DEFAULT_REGION=the deployment's region",
    ),
    (
        (sdk.HTTPClientError, sdk.ConnectionError),
        "AWS does not answer",
        "is this machine online, and is AWS_DEFAULT_REGION the right region?",
    ),
    ((Exception,), "AWS cannot be asked", CREDENTIALS_FIX),
)
"""What never reached AWS: the SDK's own errors, the words, and the fix."""


def aws_trouble(error: BaseException) -> tuple[str, str]:
    """What an error of AWS's, or one that it caused, says is wrong, and what to do about it."""
    while not isinstance(error, ClientError | BotoCoreError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, ClientError):
        return _refusal(error)
    if not isinstance(error, BotoCoreError):
        return str(error), CREDENTIALS_FIX
    words, fix = next((words, fix) for kinds, words, fix in _OWN if isinstance(error, kinds))
    return f"{words}: {error}", fix


def _refusal(error: ClientError) -> tuple[str, str]:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _EXPIRED:
        fix = "sign in again (`aws sso login`), or export fresh credentials"
        return f"the AWS credentials have expired ({code})", fix
    if code in _UNKNOWN:
        fix = "check AWS_PROFILE, or AWS_ACCESS_KEY_ID with its AWS_SECRET_ACCESS_KEY"
        return f"AWS does not accept these credentials ({code})", fix
    if "NotFound" in code or "NoSuch" in code:
        region = boto3.session.Session().region_name
        return (
            f"nothing of it is in {region} ({code})",
            "are stage and region (AWS_DEFAULT_REGION) those deployed to?",
        )
    if code in _BUSY:
        return (
            f"AWS turns requests away, too many come ({code})",
            "wait some seconds, and try again",
        )
    if status >= 500:
        return f"AWS fails ({code})", "wait, and try again; https://health.aws.amazon.com tells"
    return f"AWS refuses: {error}", "use an identity that may deploy; see docs/aws.md"


def _client(service: Any) -> Any:
    return bounded(boto3.client(service, config=_CONFIG), ANSWER_S)


def secrets_client() -> SecretsManagerClient:
    """Secrets Manager in the owner's region."""
    client: SecretsManagerClient = _client("secretsmanager")
    return client


def identity_client() -> STSClient:
    """Who the owner is."""
    client: STSClient = _client("sts")
    return client


def concurrency_quota() -> int:
    """Lambda executions that the owner's account may have at once.

    Raises:
        ClientError: the owner may not ask.
    """
    settings = _client("lambda").get_account_settings()
    return int(settings["AccountLimit"]["ConcurrentExecutions"])


def describe_table(name: str) -> None:
    """Look at a table.

    Raises:
        ClientError: it is not there, or the owner may not look.
    """
    _client("dynamodb").describe_table(TableName=name)


def describe_key(alias: str) -> None:
    """Look at a KMS key.

    Raises:
        ClientError: as `describe_table`.
    """
    _client("kms").describe_key(KeyId=alias)


def describe_secret(name: str) -> None:
    """Look at a secret, not at its value.

    Raises:
        ClientError: as `describe_table`.
    """
    secrets_client().describe_secret(SecretId=name)
