"""Secrets of one purpose each, 32 bytes that exist outside memory only as KMS ciphertext.

The encryption context names the purpose, so a policy says which function may unwrap which one.
What proves callers' keys is the seed of an Ed25519 key: everybody checks with its public half, and
management alone makes proofs. Items are `pepper#PURPOSE` of the table `keys`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from chalicelib.adapters.aws.clients import key_errors, storage_errors
from chalicelib.adapters.aws.tables import KEYS
from chalicelib.ports.errors import (
    ConflictError,
    KeysUnavailableError,
    NotDeployedError,
    StorageUnavailableError,
)

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_kms import KMSClient

CALLER, WORKER, INTENT, INDEX = "caller", "worker", "intent", "index"
PURPOSES = (CALLER, WORKER, INTENT, INDEX)

FORMER_CONTEXT = {"ballast": "pepper"}
FORMER_ITEM = {"key_id": {"S": "pepper"}}
"""One pepper served all purposes. Machines that run, and their labels, hold proofs under it."""

_KEPT = (WORKER, INTENT)
_Item = dict[str, Any]


class KmsSecretBox:
    """Implements `ports.signer.SecretBox`; unwraps each secret once per process."""

    def __init__(
        self, dynamodb: DynamoDBClient, kms: KMSClient, prefix: str, kms_alias: str
    ) -> None:
        self._dynamodb = dynamodb
        self._kms = kms
        self._table = KEYS.full_name(prefix)
        self._kms_alias = kms_alias
        self._secrets: dict[str, bytes] = {}
        self._public: Ed25519PublicKey | None = None
        self._has_former: bool | None = None

    def mac(self, purpose: str, message: str) -> str:
        """HMAC-SHA-256 under the purpose's pepper, base64url without padding: 43 characters."""
        return make_mac(self._secret(purpose), purpose, message)

    def prove(self, message: str) -> str:
        """An Ed25519 signature, base64url without padding: 86 characters, always the same."""
        return make_proof(Ed25519PrivateKey.from_private_bytes(self._secret(CALLER)), message)

    @property
    def has_former_keys(self) -> bool:
        """Whether keys of the former kind were taken over."""
        if self._has_former is None:
            self._has_former = "former" in self._item(CALLER)
        return self._has_former

    def is_proof(self, message: str, proof: str) -> bool:
        """Whether `prove` made it; unwraps nothing."""
        if self._public is None:
            public = self._item(CALLER)["public"]["B"]
            self._public = Ed25519PublicKey.from_public_bytes(bytes(public))
        return check_proof(self._public, message, proof)

    def _secret(self, purpose: str) -> bytes:
        if purpose not in self._secrets:
            wrapped = bytes(self._item(purpose)["wrapped"]["B"])
            self._secrets[purpose] = self._unwrap(wrapped, {"ballast": purpose})
        return self._secrets[purpose]

    def _item(self, purpose: str) -> _Item:
        try:
            return self._find(purpose) or self._create(purpose)
        except NotDeployedError:
            raise
        except StorageUnavailableError as error:
            raise KeysUnavailableError(f"the wrapped secret {purpose!r} cannot be read") from error

    def _find(self, purpose: str) -> _Item | None:
        with storage_errors():
            reply = self._dynamodb.get_item(
                TableName=self._table, Key=_key(purpose), ConsistentRead=True
            )
        return reply.get("Item")

    def _create(self, purpose: str) -> _Item:
        wrapped = self._former(purpose) if purpose in _KEPT else None
        if wrapped is None:
            with key_errors():
                wrapped = self._kms.generate_data_key_without_plaintext(
                    KeyId=self._kms_alias,
                    NumberOfBytes=32,
                    EncryptionContext={"ballast": purpose},
                )["CiphertextBlob"]
        item: _Item = {**_key(purpose), "wrapped": {"B": wrapped}}
        if purpose == CALLER:
            seed = self._unwrap(wrapped, {"ballast": purpose})
            public = Ed25519PrivateKey.from_private_bytes(seed).public_key()
            item["public"] = {"B": public.public_bytes_raw()}
        try:
            with storage_errors():
                self._dynamodb.put_item(
                    TableName=self._table,
                    Item=item,
                    ConditionExpression="attribute_not_exists(key_id)",
                )
        except ConflictError:
            return self._find(purpose) or item
        return item

    def _former(self, purpose: str) -> bytes | None:
        """The former pepper, wrapped anew for one purpose; its bytes stay inside KMS."""
        with storage_errors():
            reply = self._dynamodb.get_item(
                TableName=self._table, Key=FORMER_ITEM, ConsistentRead=True
            )
        item = reply.get("Item")
        if item is None:
            return None
        with key_errors():
            return self._kms.re_encrypt(
                CiphertextBlob=bytes(item["wrapped"]["B"]),
                SourceEncryptionContext=FORMER_CONTEXT,
                DestinationKeyId=self._kms_alias,
                DestinationEncryptionContext={"ballast": purpose},
            )["CiphertextBlob"]

    def _unwrap(self, wrapped: bytes, context: dict[str, str]) -> bytes:
        with key_errors():
            return self._kms.decrypt(
                KeyId=self._kms_alias, CiphertextBlob=wrapped, EncryptionContext=context
            )["Plaintext"]


def make_mac(pepper: bytes, purpose: str, message: str) -> str:
    """What `KmsSecretBox.mac` gives under a pepper."""
    digest = hmac.digest(pepper, f"{purpose}\0{message}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def make_proof(private: Ed25519PrivateKey, message: str) -> str:
    """A signature as text."""
    return base64.urlsafe_b64encode(private.sign(message.encode())).rstrip(b"=").decode()


def check_proof(public: Ed25519PublicKey, message: str, proof: str) -> bool:
    """Whether a text is the one signature of a message; another spelling of it is not."""
    try:
        signature = base64.urlsafe_b64decode(proof + "==")
        public.verify(signature, message.encode())
    except (InvalidSignature, ValueError):
        return False
    return base64.urlsafe_b64encode(signature).rstrip(b"=").decode() == proof


def _key(purpose: str) -> _Item:
    return {"key_id": {"S": f"pepper#{purpose}"}}
