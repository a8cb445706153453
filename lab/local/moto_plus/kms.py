"""KMS: digests signed as digests, disabled keys that refuse, data key pairs, and deletion."""

from __future__ import annotations

import base64
import json
from functools import lru_cache
from itertools import count
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from moto.core.exceptions import JsonRESTError
from moto.kms.exceptions import ValidationException
from moto.kms.responses import KmsResponse

from lab.local.moto_plus.correcting import instead_of

_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


@instead_of(KmsResponse, "sign")
def _sign(self: Any, stock: Any) -> Any:
    """Stock moto hashes a DIGEST once more, and signs with disabled keys."""
    key = self.kms_backend.describe_key(self._get_param("KeyId"))
    if key.key_state != "Enabled":
        raise JsonRESTError("DisabledException", f"{key.arn} is disabled.")
    if self._get_param("MessageType") != "DIGEST" or not hasattr(key.private_key, "key_size"):
        return stock()
    algorithm = self._get_param("SigningAlgorithm")
    signature = _text(_sign_digest(key, self._get_param("Message"), algorithm))
    return json.dumps({"KeyId": key.arn, "Signature": signature, "SigningAlgorithm": algorithm})


@instead_of(KmsResponse, "schedule_key_deletion")
def _bound_the_waiting_period(self: Any, stock: Any) -> Any:
    """Stock moto answers a deletion in fewer than 7 days, and schedules none."""
    days = self._get_param("PendingWindowInDays")
    if days is not None and not 7 <= days <= 30:
        raise ValidationException("PendingWindowInDays must be between 7 and 30 days")
    return stock()


def _sign_digest(key: Any, digest: bytes, algorithm: str) -> bytes:
    """The RSA signature over a digest.

    Raises:
        ValidationException: the digest's length is not the algorithm's.
    """
    hash_algorithm = _HASHES[algorithm[-3:]]
    if len(digest) != hash_algorithm.digest_size:
        raise ValidationException(f"Digest is invalid length for algorithm {algorithm}.")
    pss = padding.PSS(padding.MGF1(hash_algorithm), hash_algorithm.digest_size)
    scheme = pss if "PSS" in algorithm else padding.PKCS1v15()
    return key.private_key.private_key.sign(digest, scheme, Prehashed(hash_algorithm))  # type: ignore[no-any-return]


@instead_of(KmsResponse, "get_public_key")
def _name_the_key_spec(_self: Any, stock: Any) -> str:
    """Stock moto answers GetPublicKey with the deprecated CustomerMasterKeySpec alone."""
    answer = json.loads(stock())
    return json.dumps({"KeySpec": answer.get("CustomerMasterKeySpec"), **answer})


@lru_cache(maxsize=64)
def _nth_key_of_an_account(_n: int, n_bits: int) -> rsa.RSAPrivateKey:
    """A key that no other call in the account is given; a later account in this process may be."""
    return rsa.generate_private_key(public_exponent=65537, key_size=n_bits)


def _generate_data_key_pair(self: Any) -> str:
    """GenerateDataKeyPair, which stock moto lacks."""
    spec = self._get_param("KeyPairSpec")
    made = vars(self.kms_backend).setdefault("key_pairs_made", count())  # its `reset` forgets it
    key = _nth_key_of_an_account(next(made), int(spec.split("_")[1]))
    der = key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public_der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    wrapped, arn = self.kms_backend.encrypt(
        key_id=self._get_param("KeyId"),
        plaintext=der,
        encryption_context=self._get_param("EncryptionContext", {}),
    )
    answer = {
        "KeyId": arn,
        "KeyPairSpec": spec,
        "PrivateKeyCiphertextBlob": _text(wrapped),
        "PublicKey": _text(public_der),
        "PrivateKeyPlaintext": _text(der),
    }
    if self._get_action().endswith("WithoutPlaintext"):
        answer.pop("PrivateKeyPlaintext")
    return json.dumps(answer)


KmsResponse.generate_data_key_pair = _generate_data_key_pair
KmsResponse.generate_data_key_pair_without_plaintext = _generate_data_key_pair


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
