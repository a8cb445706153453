"""The pepper: 32 bytes that exist outside memory only as KMS ciphertext."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING

from chalicelib.adapters.aws.clients import key_errors, storage_errors
from chalicelib.adapters.aws.tables import KEYS
from chalicelib.ports.errors import ConflictError, KeysUnavailableError, StorageUnavailableError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_kms import KMSClient

CONTEXT = {"ballast": "pepper"}
_ITEM = {"key_id": {"S": "pepper"}}


class KmsSecretBox:
    """Implements `ports.signer.SecretBox`; unwraps the pepper once per process."""

    def __init__(
        self, dynamodb: DynamoDBClient, kms: KMSClient, prefix: str, kms_alias: str
    ) -> None:
        self._dynamodb = dynamodb
        self._kms = kms
        self._table = KEYS.full_name(prefix)
        self._kms_alias = kms_alias
        self._pepper: bytes | None = None

    def mac(self, purpose: str, message: str) -> str:
        """HMAC-SHA-256 under pepper and purpose, base64url without padding: 43 characters."""
        if self._pepper is None:
            self._pepper = self._unwrap(self._wrapped())
        digest = hmac.digest(self._pepper, f"{purpose}\0{message}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def _wrapped(self) -> bytes:
        try:
            return self._find() or self._create()
        except StorageUnavailableError as error:
            raise KeysUnavailableError("the wrapped pepper cannot be read") from error

    def _find(self) -> bytes | None:
        with storage_errors():
            reply = self._dynamodb.get_item(TableName=self._table, Key=_ITEM, ConsistentRead=True)
        item = reply.get("Item")
        return bytes(item["wrapped"]["B"]) if item else None

    def _create(self) -> bytes:
        with key_errors():
            wrapped = self._kms.generate_data_key_without_plaintext(
                KeyId=self._kms_alias, NumberOfBytes=32, EncryptionContext=CONTEXT
            )["CiphertextBlob"]
        try:
            with storage_errors():
                self._dynamodb.put_item(
                    TableName=self._table,
                    Item={**_ITEM, "wrapped": {"B": wrapped}},
                    ConditionExpression="attribute_not_exists(key_id)",
                )
        except ConflictError:
            return self._find() or wrapped
        return wrapped

    def _unwrap(self, wrapped: bytes) -> bytes:
        with key_errors():
            return self._kms.decrypt(
                KeyId=self._kms_alias, CiphertextBlob=wrapped, EncryptionContext=CONTEXT
            )["Plaintext"]
