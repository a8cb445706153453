"""KMS: digests signed as digests, disabled keys that refuse, data key pairs, and deletion."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from moto.core.exceptions import JsonRESTError
from moto.kms.exceptions import ValidationException
from moto.kms.responses import KmsResponse

_HASHES: dict[str, hashes.HashAlgorithm] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}


def correct() -> None:
    """Correct moto's KMS in this process."""
    _correct_sign()
    _name_the_key_spec()
    _bound_the_waiting_period()
    KmsResponse.generate_data_key_pair = _data_key_pair_action(with_plaintext=True)
    KmsResponse.generate_data_key_pair_without_plaintext = _data_key_pair_action(
        with_plaintext=False
    )


def _correct_sign() -> None:
    """Stock moto hashes a DIGEST once more, and signs with disabled keys."""
    stock_sign = KmsResponse.sign

    def sign(self: Any) -> Any:
        key = self.kms_backend.describe_key(self._get_param("KeyId"))
        if key.key_state != "Enabled":
            raise JsonRESTError("DisabledException", f"{key.arn} is disabled.")
        is_rsa = hasattr(key.private_key, "key_size")
        if self._get_param("MessageType") != "DIGEST" or not is_rsa:
            return stock_sign(self)
        algorithm = self._get_param("SigningAlgorithm")
        signature = _sign_digest(key, self._get_param("Message"), algorithm)
        return json.dumps(
            {"KeyId": key.arn, "Signature": _text(signature), "SigningAlgorithm": algorithm}
        )

    KmsResponse.sign = sign


def _bound_the_waiting_period() -> None:
    """Stock moto answers a deletion in fewer than 7 days, and schedules none."""
    stock_schedule = KmsResponse.schedule_key_deletion

    def schedule_key_deletion(self: Any) -> Any:
        days = self._get_param("PendingWindowInDays")
        if days is not None and not 7 <= days <= 30:
            raise ValidationException("PendingWindowInDays must be between 7 and 30 days")
        return stock_schedule(self)

    KmsResponse.schedule_key_deletion = schedule_key_deletion


def _sign_digest(key: Any, digest: bytes, algorithm: str) -> bytes:
    """The RSA signature over a digest.

    Raises:
        ValidationException: the digest's length is not the algorithm's.
    """
    hash_algorithm = _HASHES[algorithm[-3:]]
    if len(digest) != hash_algorithm.digest_size:
        raise ValidationException(f"Digest is invalid length for algorithm {algorithm}.")
    scheme = (
        padding.PSS(padding.MGF1(hash_algorithm), hash_algorithm.digest_size)
        if "PSS" in algorithm
        else padding.PKCS1v15()
    )
    signature: bytes = key.private_key.private_key.sign(digest, scheme, Prehashed(hash_algorithm))
    return signature


def _name_the_key_spec() -> None:
    """Stock moto answers GetPublicKey with the deprecated CustomerMasterKeySpec alone."""
    stock_get_public_key = KmsResponse.get_public_key

    def get_public_key(self: Any) -> str:
        answer = json.loads(stock_get_public_key(self))
        return json.dumps({"KeySpec": answer.get("CustomerMasterKeySpec"), **answer})

    KmsResponse.get_public_key = get_public_key


def _data_key_pair_action(*, with_plaintext: bool) -> Callable[[Any], str]:
    """GenerateDataKeyPair or GenerateDataKeyPairWithoutPlaintext, which stock moto lacks."""

    def generate(self: Any) -> str:
        spec = self._get_param("KeyPairSpec")
        private_key = rsa.generate_private_key(
            public_exponent=65537, key_size=int(spec.split("_")[1])
        )
        der = private_key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        public_der = private_key.public_key().public_bytes(
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
        }
        return json.dumps(answer | ({"PrivateKeyPlaintext": _text(der)} if with_plaintext else {}))

    return generate


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
