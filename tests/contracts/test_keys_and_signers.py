"""Callers' keys, both signers and the pepper: one suite for the fakes and for AWS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from chalicelib.adapters.aws.keys import DynamoKeyRepository
from chalicelib.adapters.aws.secret_box import (
    FORMER_CONTEXT,
    FORMER_ITEM,
    KmsSecretBox,
    make_mac,
)
from chalicelib.adapters.aws.signer import KmsSigner, WrappedSigner
from chalicelib.ports.errors import ConflictError, KeysUnavailableError, NotFoundError
from chalicelib.ports.keys import CallerKey, KeyRepository
from chalicelib.ports.signer import SecretBox, Signer
from fakes.ports.key_repository import FakeKeyRepository
from fakes.ports.secret_box import FakeSecretBox
from fakes.ports.signer import FakeSigner

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_kms import KMSClient

NOW = 1_800_000_000.25
PREFIX, ALIAS = "ballast-test", "alias/ballast-test"


@pytest.fixture(params=["memory", "dynamo"])
def keys(request: pytest.FixtureRequest) -> KeyRepository:
    if request.param == "memory":
        return FakeKeyRepository()
    return DynamoKeyRepository(request.getfixturevalue("dynamodb"), PREFIX)


@pytest.fixture(params=["memory", "wrapped", "kms"])
def signer(request: pytest.FixtureRequest) -> Signer:
    if request.param == "memory":
        return FakeSigner()
    kind = WrappedSigner if request.param == "wrapped" else KmsSigner
    dynamodb, kms = request.getfixturevalue("dynamodb"), request.getfixturevalue("kms")
    return kind(dynamodb, kms, PREFIX, ALIAS)


@pytest.fixture(params=["memory", "kms"])
def box(request: pytest.FixtureRequest) -> SecretBox:
    if request.param == "memory":
        return FakeSecretBox()
    dynamodb, kms = request.getfixturevalue("dynamodb"), request.getfixturevalue("kms")
    return KmsSecretBox(dynamodb, kms, PREFIX, ALIAS)


def make_key(key_id: str = "a-roa-1", **values: object) -> CallerKey:
    fields: dict[str, object] = {
        "name": "deploy",
        "verbs": frozenset({"route", "read"}),
        "endpoint_id": None,
        "generation": 1,
        "created_at": NOW,
        "revision": 1,
    }
    return CallerKey(key_id=key_id, **{**fields, **values})  # type: ignore[arg-type]


def verify(signer: Signer, key_id: str, message: bytes, signature: bytes) -> None:
    key = serialization.load_pem_public_key(signer.public_key(key_id).public_pem.encode())
    assert isinstance(key, RSAPublicKey)
    key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())


def test_a_key_comes_back_as_it_was_put(keys: KeyRepository) -> None:
    limited = make_key(
        "e7-r-2",
        endpoint_id=7,
        expires_at=NOW + 1,
        max_requests_per_s=2.5,
        max_concurrent=3,
        max_load_per_s=1e6,
        share=4.0,
        revoked_generations_below=1,
    )
    keys.put(make_key())
    keys.put(limited)
    assert keys.find("a-roa-1") == make_key()
    assert keys.find("e7-r-2") == limited
    assert sorted(keys.list(), key=lambda k: k.key_id) == [make_key(), limited]


def test_a_key_is_replaced_and_forgotten(keys: KeyRepository) -> None:
    keys.put(make_key())
    keys.put(make_key(generation=2, revision=2))
    assert [k.generation for k in keys.list()] == [2]
    keys.remove("a-roa-1")
    assert keys.find("a-roa-1") is None
    assert list(keys.list()) == []


def test_a_key_is_replaced_by_its_next_revision_alone(keys: KeyRepository) -> None:
    keys.put(make_key())
    for revision in (0, 1, 3):
        with pytest.raises(ConflictError):
            keys.put(make_key(generation=9, revision=revision))
    keys.put(make_key(generation=2, revision=2))
    with pytest.raises(ConflictError):
        keys.put(make_key("a-roa-none", revision=2))
    assert keys.find("a-roa-1") == make_key(generation=2, revision=2)


def test_the_first_key_is_made_when_it_is_asked_for_and_stays_the_newest(signer: Signer) -> None:
    first = signer.newest(NOW)
    assert first.created_at == NOW
    assert signer.newest(NOW + 1) == first
    assert signer.public_key(first.key_id) == first


def test_a_signature_verifies_with_the_public_key(signer: Signer) -> None:
    key_id = signer.newest().key_id
    signature = signer.sign(key_id, b"text")
    verify(signer, key_id, b"text", signature)
    with pytest.raises(InvalidSignature):
        verify(signer, key_id, b"other text", signature)


def test_an_older_key_signs_on_after_a_rotation(signer: Signer) -> None:
    old = signer.newest()
    new = signer.create_key(NOW)
    assert new.key_id != old.key_id
    assert signer.newest() == new
    assert new.created_at == NOW
    verify(signer, old.key_id, b"text", signer.sign(old.key_id, b"text"))
    verify(signer, new.key_id, b"text", signer.sign(new.key_id, b"text"))


def test_the_public_key_is_pem_from_the_first_byte(signer: Signer) -> None:
    pem = signer.newest().public_pem
    assert pem.startswith("-----BEGIN PUBLIC KEY-----\n")
    assert pem.endswith("\n-----END PUBLIC KEY-----\n")


def test_an_unknown_key_is_not_found(signer: Signer) -> None:
    with pytest.raises(NotFoundError):
        signer.public_key("777")
    with pytest.raises(NotFoundError):
        signer.sign("777", b"text")


def test_a_mac_is_43_characters_and_depends_on_purpose_and_message(box: SecretBox) -> None:
    macs = [box.mac("index", "a"), box.mac("index", "b"), box.mac("worker", "a")]
    assert len(set(macs)) == 3
    assert all(len(mac) == 43 for mac in macs)
    assert box.mac("index", "a") == macs[0]


def test_a_proof_is_86_characters_and_checked_to_the_letter(box: SecretBox) -> None:
    proof = box.prove("a-r-1.1")
    assert (len(proof), box.prove("a-r-1.1")) == (86, proof)
    assert box.is_proof("a-r-1.1", proof)
    assert not box.is_proof("a-r-1.2", proof)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for i in (0, 40, 85):
        others = [proof[:i] + c + proof[i + 1 :] for c in letters if c != proof[i]]
        assert not any(box.is_proof("a-r-1.1", other) for other in others)
    for other in ("", "A" * 43, "A" * 86, proof + "=", "\xff" * 86):
        assert not box.is_proof("a-r-1.1", other)


def test_who_may_unwrap_no_secret_checks_proofs_all_the_same(
    dynamodb: DynamoDBClient, kms: KMSClient
) -> None:
    """As the roles of `hot` and `reports`: they read the public half, and make nothing."""
    proof = KmsSecretBox(dynamodb, kms, PREFIX, ALIAS).prove("a-roa-1.1")
    fresh = KmsSecretBox(dynamodb, kms, PREFIX, "alias/none")
    assert fresh.is_proof("a-roa-1.1", proof)
    assert not fresh.has_former_keys
    with pytest.raises(KeysUnavailableError):
        fresh.prove("a-roa-1.1")


def test_the_former_pepper_lives_on_for_machines_that_run_and_for_them_alone(
    dynamodb: DynamoDBClient, kms: KMSClient
) -> None:
    wrapped = kms.generate_data_key(KeyId=ALIAS, NumberOfBytes=32, EncryptionContext=FORMER_CONTEXT)
    item = {**FORMER_ITEM, "wrapped": {"B": wrapped["CiphertextBlob"]}}
    dynamodb.put_item(TableName=f"{PREFIX}-keys", Item=item)  # type: ignore[arg-type]
    box = KmsSecretBox(dynamodb, kms, PREFIX, ALIAS)
    for purpose, is_kept in (("worker", True), ("intent", True), ("index", False)):
        kept = make_mac(wrapped["Plaintext"], purpose, "m")
        assert (box.mac(purpose, "m") == kept) is is_kept


@pytest.mark.parametrize("kind", [WrappedSigner, KmsSigner])
def test_processes_share_keys_and_pepper(
    dynamodb: DynamoDBClient, kms: KMSClient, kind: type[WrappedSigner] | type[KmsSigner]
) -> None:
    one, two = (kind(dynamodb, kms, PREFIX, ALIAS) for _ in range(2))
    key_id = one.newest().key_id
    assert two.newest().key_id == key_id
    verify(two, key_id, b"text", one.sign(key_id, b"text"))
    boxes = [KmsSecretBox(dynamodb, kms, PREFIX, ALIAS) for _ in range(2)]
    assert boxes[0].mac("p", "m") == boxes[1].mac("p", "m")


def test_the_table_holds_nothing_usable(dynamodb: DynamoDBClient, kms: KMSClient) -> None:
    """Neither a private key nor the pepper is in the table but under KMS."""
    signer = WrappedSigner(dynamodb, kms, PREFIX, ALIAS)
    signer.newest()
    KmsSecretBox(dynamodb, kms, PREFIX, ALIAS).mac("p", "m")
    items = dynamodb.scan(TableName=f"{PREFIX}-keys")["Items"]
    wrapped = [bytes(item["wrapped"]["B"]) for item in items if "wrapped" in item]
    assert len(wrapped) == 2
    for blob in wrapped:
        with pytest.raises(ValueError, match="Could not deserialize"):
            serialization.load_der_private_key(blob, password=None)


def test_without_kms_nothing_is_signed(dynamodb: DynamoDBClient, kms: KMSClient) -> None:
    WrappedSigner(dynamodb, kms, PREFIX, ALIAS).newest()
    key_id = kms.list_aliases()["Aliases"][0]["TargetKeyId"]
    kms.disable_key(KeyId=key_id)
    fresh = WrappedSigner(dynamodb, kms, PREFIX, "alias/none")
    newest = fresh.newest().key_id
    with pytest.raises(KeysUnavailableError):
        fresh.sign(newest, b"text")


def test_either_signer_signs_with_the_keys_of_the_other(
    dynamodb: DynamoDBClient, kms: KMSClient
) -> None:
    """So a deployment may change from one to the other, and workers keep the key they know."""
    wrapped = WrappedSigner(dynamodb, kms, PREFIX, ALIAS)
    in_kms = KmsSigner(dynamodb, kms, PREFIX, ALIAS)
    for maker, other in ((wrapped, in_kms), (in_kms, wrapped)):
        key_id = maker.create_key(NOW).key_id
        verify(other, key_id, b"ticket", other.sign(key_id, b"ticket"))
