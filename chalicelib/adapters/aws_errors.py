"""AWS errors told in the words of `ports/errors.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.ports.errors import ConflictError, KeysUnavailableError, StorageUnavailableError


def error_code(error: ClientError) -> str:
    """AWS's name of an error."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def storage_errors() -> Iterator[None]:
    """Around DynamoDB calls.

    Raises:
        ConflictError: a condition failed.
        StorageUnavailableError: anything else went wrong at DynamoDB or on the way.
    """
    try:
        yield
    except ClientError as error:
        code = error_code(error)
        if code in ("ConditionalCheckFailedException", "TransactionCanceledException"):
            raise ConflictError(code) from error
        raise StorageUnavailableError(code) from error
    except BotoCoreError as error:
        raise StorageUnavailableError(type(error).__name__) from error


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
