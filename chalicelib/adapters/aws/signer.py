"""Signing keys under KMS, in two ways behind one port.

`WrappedSigner` (default) makes an RSA-2048 pair that exists outside memory only as KMS ciphertext,
unwrapped once per process; signs in about 0.2 ms. `KmsSigner` makes a key that never leaves KMS;
about $3 per million signatures. Either signs with the keys of both, so a deployment may change from
one to the other. Items `signing#KEYID` of the table `keys` hold the public half, and `signing`
names the newest.
"""

from __future__ import annotations

import base64
import secrets
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from chalicelib.adapters.aws.clients import key_errors, number_text, storage_errors
from chalicelib.adapters.aws.tables import KEYS
from chalicelib.ports.errors import (
    ConflictError,
    KeysUnavailableError,
    NotDeployedError,
    NotFoundError,
    StorageUnavailableError,
)
from chalicelib.ports.signer import SigningKeyInfo

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_kms import KMSClient

_PREFIX = "signing#"
_NEWEST = {"key_id": {"S": "signing"}}


class SigningKeyStore:
    """The items of signing keys."""

    def __init__(self, dynamodb: DynamoDBClient, prefix: str) -> None:
        self._dynamodb = dynamodb
        self._table = KEYS.full_name(prefix)
        self._cache: dict[str, dict[str, Any]] = {}

    def get(self, key_id: str) -> dict[str, Any]:
        """One key's item; they never change, so it is read once.

        Raises:
            NotFoundError: no such key.
            KeysUnavailableError: the table cannot be read.
        """
        if key_id not in self._cache:
            item = self._read({"key_id": {"S": _PREFIX + key_id}})
            if item is None:
                raise NotFoundError(f"no signing key {key_id!r}")
            self._cache[key_id] = item
        return self._cache[key_id]

    def newest_id(self) -> str | None:
        """The id of the key that new instances get.

        Raises:
            KeysUnavailableError: the table cannot be read.
        """
        item = self._read(_NEWEST)
        return str(item["newest"]["S"]) if item else None

    def add(self, info: SigningKeyInfo, private: dict[str, Any], *, only_first: bool) -> None:
        """Store a key and make it the newest; with `only_first`, only if there is none yet.

        Raises:
            ConflictError: another process made the first key.
            KeysUnavailableError: the table cannot be written.
        """
        item = {
            "key_id": {"S": _PREFIX + info.key_id},
            "created_at": {"N": number_text(info.created_at)},
            "public_pem": {"S": info.public_pem},
            **private,
        }
        condition = {"ConditionExpression": "attribute_not_exists(key_id)"} if only_first else {}
        try:
            with storage_errors():
                self._dynamodb.put_item(TableName=self._table, Item=item)
                self._dynamodb.put_item(
                    TableName=self._table,
                    Item={**_NEWEST, "newest": {"S": info.key_id}},
                    **condition,  # type: ignore[arg-type]
                )
        except StorageUnavailableError as error:
            raise KeysUnavailableError("signing keys cannot be written") from error

    def _read(self, key: dict[str, Any]) -> dict[str, Any] | None:
        try:
            with storage_errors():
                reply = self._dynamodb.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        except NotDeployedError:
            raise
        except StorageUnavailableError as error:
            raise KeysUnavailableError("signing keys cannot be read") from error
        return reply.get("Item")


class _StoredKeySigner(ABC):
    """What both signers share: finding keys, signing with them, and rotation."""

    def __init__(
        self, dynamodb: DynamoDBClient, kms: KMSClient, prefix: str, kms_alias: str
    ) -> None:
        self._kms = kms
        self._kms_alias = kms_alias
        self._store = SigningKeyStore(dynamodb, prefix)
        self._private: dict[str, RSAPrivateKey] = {}

    def sign(self, key_id: str, message: bytes) -> bytes:
        """The raw signature."""
        private = self._private.get(key_id)
        if private is None:
            item = self._store.get(key_id)
            if "kms_arn" in item:
                return self._sign_in_kms(item["kms_arn"]["S"], message)
            private = self._private[key_id] = self._unwrap(key_id, bytes(item["wrapped"]["B"]))
        return private.sign(message, padding.PKCS1v15(), hashes.SHA256())

    def public_key(self, key_id: str) -> SigningKeyInfo:
        """One key."""
        item = self._store.get(key_id)
        return SigningKeyInfo(key_id, float(item["created_at"]["N"]), item["public_pem"]["S"])

    def newest(self, now: float = 0.0) -> SigningKeyInfo:
        """The key that new instances get; made, as of `now`, if there is none yet."""
        newest_id = self._store.newest_id()
        if newest_id is None:
            try:
                return self._create(now, only_first=True)
            except ConflictError:
                newest_id = self._store.newest_id() or ""
        return self.public_key(newest_id)

    def create_key(self, now: float) -> SigningKeyInfo:
        """Rotate: a new key that becomes the newest."""
        return self._create(now, only_first=False)

    def _create(self, now: float, *, only_first: bool) -> SigningKeyInfo:
        key_id = secrets.token_hex(4)
        public_der, private = self._make_pair(key_id)
        info = SigningKeyInfo(key_id, now, _pem(public_der))
        self._store.add(info, private, only_first=only_first)
        return info

    @abstractmethod
    def _make_pair(self, key_id: str) -> tuple[bytes, dict[str, Any]]:
        """(public key as SPKI DER, what to store of the private one)."""

    def _sign_in_kms(self, arn: str, message: bytes) -> bytes:
        with key_errors():
            return self._kms.sign(
                KeyId=arn,
                Message=message,
                MessageType="RAW",
                SigningAlgorithm="RSASSA_PKCS1_V1_5_SHA_256",
            )["Signature"]

    def _unwrap(self, key_id: str, wrapped: bytes) -> RSAPrivateKey:
        with key_errors():
            der = self._kms.decrypt(
                KeyId=self._kms_alias, CiphertextBlob=wrapped, EncryptionContext=_context(key_id)
            )["Plaintext"]
        # KMS authenticated the blob; checking the key's arithmetic again would take 28 ms.
        key = serialization.load_der_private_key(
            der, password=None, unsafe_skip_rsa_key_validation=True
        )
        if not isinstance(key, RSAPrivateKey):
            raise KeysUnavailableError(f"signing key {key_id!r} is not an RSA key")
        return key


class WrappedSigner(_StoredKeySigner):
    """Implements `ports.signer.Signer` with a key that is unwrapped once per process."""

    def _make_pair(self, key_id: str) -> tuple[bytes, dict[str, Any]]:
        with key_errors():
            pair = self._kms.generate_data_key_pair_without_plaintext(
                KeyId=self._kms_alias, KeyPairSpec="RSA_2048", EncryptionContext=_context(key_id)
            )
        return pair["PublicKey"], {"wrapped": {"B": pair["PrivateKeyCiphertextBlob"]}}


class KmsSigner(_StoredKeySigner):
    """Implements `ports.signer.Signer` with keys that never leave KMS."""

    def _make_pair(self, key_id: str) -> tuple[bytes, dict[str, Any]]:
        with key_errors():
            key = self._kms.create_key(
                KeySpec="RSA_2048",
                KeyUsage="SIGN_VERIFY",
                Description=f"Ballast signing key {key_id}",
                # By this tag the hot function's policy knows the keys of its deployment.
                Tags=[{"TagKey": "ballast", "TagValue": self._kms_alias.removeprefix("alias/")}],
            )["KeyMetadata"]
            public = self._kms.get_public_key(KeyId=key["Arn"])["PublicKey"]
        return public, {"kms_arn": {"S": key["Arn"]}}


def _context(key_id: str) -> dict[str, str]:
    return {"ballast": "signing", "key_id": key_id}


def _pem(public_der: bytes) -> str:
    text = base64.b64encode(public_der).decode()
    lines = "\n".join(text[i : i + 64] for i in range(0, len(text), 64))
    return f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n"
