"""AWS clients: one of each per process, with timeouts that let a route answer within 4 s."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.deadline import with_bounded_answers
from chalicelib.ports.errors import (
    ConflictError,
    KeysUnavailableError,
    NotDeployedError,
    PortError,
    StorageUnavailableError,
)
from chalicelib.settings import Settings

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_kms import KMSClient


CONNECT_TIMEOUT_S = 1.0
READ_TIMEOUT_S = 1.5
ANSWER_S = 2.0  # of one try, however slowly its answer drips
MAX_ATTEMPTS = 2
MAX_CONNECTIONS = 20
USER_AGENT = "ballast"


@lru_cache(maxsize=1)
def dynamodb_client() -> DynamoDBClient:
    """The process's DynamoDB client."""
    client: DynamoDBClient = create_client("dynamodb")
    return client


@lru_cache(maxsize=1)
def kms_client() -> KMSClient:
    """The process's KMS client."""
    client: KMSClient = create_client("kms")
    return client


def create_client(service: str) -> Any:
    """A client whose calls end in time, also where an answer drips."""
    return bounded(aws_session().create_client(service, config=client_config()), ANSWER_S)


def bounded(client: Any, total_s: float) -> Any:
    """This client of botocore's; each answer is whole `total_s` after it was waited for.

    botocore's time-outs are for each read, and it has no public way to set one for all of them.
    """
    pools = client._endpoint.http_session._pool_classes_by_scheme
    for scheme, pool in pools.items():
        pools[scheme] = with_bounded_answers(pool, total_s)
    return client


@lru_cache(maxsize=1)
def aws_session() -> Any:
    """The session behind both clients."""
    # boto3 would load the S3 transfer manager on top: 70 ms of every cold start.
    import botocore.session

    return botocore.session.get_session()


def client_config() -> Any:
    """How every client is set up: timeouts, retries, and what a call need not do each time."""
    from botocore.config import Config

    return Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
        max_pool_connections=MAX_CONNECTIONS,
        tcp_keepalive=True,
        # A quarter of botocore's CPU per call (docs/internals/performance.md): checking what the
        # adapters build themselves, composing the user agent anew, and asking whose account it is.
        parameter_validation=False,
        user_agent=USER_AGENT,
        account_id_endpoint_mode="disabled",
    )


# AWS errors told in the words of `ports/errors.py`.


def error_code(error: ClientError) -> str:
    """AWS's name of an error."""
    return str(error.response.get("Error", {}).get("Code", ""))


CONDITION_FAILED = "ConditionalCheckFailed"
"""What a failed condition is called among a transaction's reasons."""


def cancellation_reasons(error: ClientError) -> tuple[str, ...]:
    """Why a transaction was cancelled: a code for each item, in order; "None" is no reason.

    Without a list (an emulator's, or an error of another kind) the codes of the message count.
    """
    reasons = error.response.get("CancellationReasons")
    if isinstance(reasons, list):
        return tuple(str(reason.get("Code", "None")) for reason in reasons)
    listed = str(error.response.get("Error", {}).get("Message", "")).rpartition("[")[2]
    return tuple(code.strip() for code in listed.partition("]")[0].split(",") if code.strip())


def told_of_storage(error: ClientError | BotoCoreError, what: str = "DynamoDB") -> PortError:
    """DynamoDB's error in the port's words: the one translation, for both clients.

    A transaction is cancelled for several reasons (TransactionConflict, ThrottlingError, …), and
    only a failed condition among them says that somebody else was first; the others say nothing
    of the rows (tests/evidence/aws/cancelled_transactions.json).
    """
    if not isinstance(error, ClientError):
        return StorageUnavailableError(f"{what}: {type(error).__name__}")
    code = error_code(error)
    if code == "TransactionCanceledException":
        reasons = cancellation_reasons(error)
        if CONDITION_FAILED in reasons:
            return ConflictError(f"{what}: {code}")
        return StorageUnavailableError(f"{what}: cancelled, {', '.join(reasons) or 'no reason'}")
    if code == f"{CONDITION_FAILED}Exception":
        return ConflictError(f"{what}: {code}")
    if code == "ResourceNotFoundException":
        return NotDeployedError(without_tables(Settings.from_environment().stage))
    return StorageUnavailableError(f"{what}: {code}")


def without_tables(stage: str) -> str:
    """What functions say that were deployed before their tables, or outlived them."""
    return (
        f"stage {stage} has no tables: `python -m infra.deploy core --stage {stage}` makes them "
        "and shows the admin key once (were they lost? docs/runbook.md#table-loss)"
    )


@contextmanager
def storage_errors(what: str = "DynamoDB") -> Iterator[None]:
    """Around DynamoDB calls; `what` begins the message.

    Raises:
        ConflictError: a condition failed.
        StorageUnavailableError: anything else went wrong at DynamoDB or on the way.
    """
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise told_of_storage(error, what) from error


@contextmanager
def key_errors() -> Iterator[None]:
    """Around KMS calls.

    Raises:
        KeysUnavailableError: KMS is down, refuses, or cannot be reached.
    """
    try:
        yield
    except ClientError as error:
        raise KeysUnavailableError(error_code(error)) from error
    except BotoCoreError as error:
        raise KeysUnavailableError(type(error).__name__) from error


def number_text(value: float) -> str:
    """A number as DynamoDB takes it, exact: times are compared with the marks' own copies."""
    return repr(value)
