"""One test for each correction of moto; every one of them fails on stock moto."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from moto.dynamodb.responses import DynamoHandler

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_kms import KMSClient

REGION = "us-east-1"
TABLE = "ballast-test-workers"
KEY: dict[str, Any] = {"endpoint_id": {"N": "1"}, "instance_id": {"N": "7"}}


def test_threads_lose_no_update(dynamodb: DynamoDBClient) -> None:
    """300 concurrent ADDs make 300."""

    def add(_: int) -> None:
        dynamodb.update_item(
            TableName=TABLE,
            Key=KEY,
            UpdateExpression="ADD reqnum :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
        )

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(add, range(300)))
    item = dynamodb.get_item(TableName=TABLE, Key=KEY)["Item"]
    assert item["reqnum"] == {"N": "300"}


def test_what_was_updated_is_answered_whether_it_changed_or_not(dynamodb: DynamoDBClient) -> None:
    """`UPDATED_NEW`: the updated attributes as they are afterwards (rules.json, updated-new)."""
    dynamodb.put_item(TableName=TABLE, Item={**KEY, "perf": {"N": "2"}, "url": {"S": "http://x"}})
    answer = dynamodb.update_item(
        TableName=TABLE,
        Key=KEY,
        UpdateExpression="ADD perf :none SET #u = :url",
        ExpressionAttributeNames={"#u": "url"},
        ExpressionAttributeValues={":none": {"N": "0"}, ":url": {"S": "http://x"}},
        ReturnValues="UPDATED_NEW",
    )
    assert answer["Attributes"] == {"perf": {"N": "2"}, "url": {"S": "http://x"}}


@pytest.mark.parametrize("number", ["inf", "1e126", "1." + "1" * 38])
def test_numbers_beyond_dynamodbs_range_are_refused(dynamodb: DynamoDBClient, number: str) -> None:
    with pytest.raises(ClientError, match="ValidationException"):
        dynamodb.put_item(TableName=TABLE, Item={**KEY, "perf": {"N": number}})
    assert "Item" not in dynamodb.get_item(TableName=TABLE, Key=KEY)


def _transaction(dynamodb: DynamoDBClient, *, amount: int, token: str) -> None:
    dynamodb.transact_write_items(
        ClientRequestToken=token,
        TransactItems=[
            {
                "Update": {
                    "TableName": TABLE,
                    "Key": KEY,
                    "UpdateExpression": "ADD reqnum :n",
                    "ExpressionAttributeValues": {":n": {"N": str(amount)}},
                }
            }
        ],
    )


def test_a_transaction_is_applied_once_per_token(dynamodb: DynamoDBClient) -> None:
    for token in ("first", "first", "second"):
        _transaction(dynamodb, amount=1, token=token)
    assert dynamodb.get_item(TableName=TABLE, Key=KEY)["Item"]["reqnum"] == {"N": "2"}


def test_a_token_is_good_for_one_transaction_only(dynamodb: DynamoDBClient) -> None:
    _transaction(dynamodb, amount=1, token="first")
    with pytest.raises(ClientError, match="IdempotentParameterMismatch"):
        _transaction(dynamodb, amount=2, token="first")


def test_items_are_answered_without_walking_the_service_model(dynamodb: DynamoDBClient) -> None:
    """The fast path gives what was put, binary values and lists included."""
    row: dict[str, Any] = {
        **KEY,
        "blob": {"B": b"\x00\xff"},
        "marks": {"L": [{"N": "1.5"}, {"M": {"a": {"S": "é"}}}]},
    }
    dynamodb.put_item(TableName=TABLE, Item=row)
    assert dynamodb.get_item(TableName=TABLE, Key=KEY)["Item"] == row
    assert dynamodb.scan(TableName=TABLE)["Items"] == [row]
    assert DynamoHandler.serialized.__module__ == "lab.local.moto_plus.dynamodb"


def test_kms_signs_a_digest_as_it_is(kms: KMSClient) -> None:
    key_id = kms.create_key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    message = b'{\n    "url": "http://127.0.0.1:3000"\n}'
    signature = kms.sign(
        KeyId=key_id,
        Message=hashlib.sha256(message).digest(),
        MessageType="DIGEST",
        SigningAlgorithm="RSASSA_PKCS1_V1_5_SHA_256",
    )["Signature"]
    answer = kms.get_public_key(KeyId=key_id)
    public = serialization.load_der_public_key(answer["PublicKey"])
    assert isinstance(public, rsa.RSAPublicKey)
    public.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    assert answer["KeySpec"] == "RSA_2048"


def test_kms_refuses_a_digest_of_the_wrong_length(kms: KMSClient) -> None:
    key_id = kms.create_key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    with pytest.raises(ClientError, match="Digest is invalid length"):
        kms.sign(
            KeyId=key_id,
            Message=b"short",
            MessageType="DIGEST",
            SigningAlgorithm="RSASSA_PKCS1_V1_5_SHA_256",
        )


def test_a_disabled_key_does_not_sign(kms: KMSClient) -> None:
    key_id = kms.create_key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    kms.disable_key(KeyId=key_id)
    with pytest.raises(ClientError, match="disabled"):
        kms.sign(KeyId=key_id, Message=b"x", SigningAlgorithm="RSASSA_PKCS1_V1_5_SHA_256")


@pytest.mark.parametrize("with_plaintext", [True, False])
def test_kms_makes_data_key_pairs(kms: KMSClient, with_plaintext: bool) -> None:
    context = {"purpose": "ticket"}
    request: dict[str, Any] = {
        "KeyId": "alias/ballast-test",
        "KeyPairSpec": "RSA_2048",
        "EncryptionContext": context,
    }
    answer: Any = (
        kms.generate_data_key_pair(**request)
        if with_plaintext
        else kms.generate_data_key_pair_without_plaintext(**request)
    )
    der = kms.decrypt(CiphertextBlob=answer["PrivateKeyCiphertextBlob"], EncryptionContext=context)[
        "Plaintext"
    ]
    private = serialization.load_der_private_key(der, password=None)
    public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert public == answer["PublicKey"]
    assert ("PrivateKeyPlaintext" in answer) == with_plaintext


TEMPLATE = {
    "Resources": {
        "SigningKey": {
            "Type": "AWS::KMS::Key",
            "Properties": {
                "KeySpec": "RSA_2048",
                "KeyUsage": "SIGN_VERIFY",
                "KeyPolicy": {"Version": "2012-10-17", "Statement": []},
            },
        },
        "Table": {
            "Type": "AWS::DynamoDB::Table",
            "Properties": {
                "TableName": "from-template",
                "BillingMode": "PAY_PER_REQUEST",
                "AttributeDefinitions": [{"AttributeName": "k", "AttributeType": "S"}],
                "KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}],
                "TimeToLiveSpecification": {"Enabled": True, "AttributeName": "expires_at"},
                "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
            },
        },
    }
}


def test_cloudformation_makes_what_the_template_says(aws: None) -> None:
    stacks = boto3.client("cloudformation", region_name=REGION)
    stacks.create_stack(StackName="core", TemplateBody=json.dumps(TEMPLATE))
    waiter = stacks.get_waiter("stack_create_complete")
    waiter.wait(StackName="core", WaiterConfig={"Delay": 1})  # it goes on by itself
    rows = stacks.list_stack_resources(StackName="core")["StackResourceSummaries"]
    ids = {row["LogicalResourceId"]: row["PhysicalResourceId"] for row in rows}

    key = boto3.client("kms", region_name=REGION).describe_key(KeyId=ids["SigningKey"])
    assert key["KeyMetadata"]["KeySpec"] == "RSA_2048"
    tables = boto3.client("dynamodb", region_name=REGION)
    ttl = tables.describe_time_to_live(TableName="from-template")["TimeToLiveDescription"]
    assert ttl["AttributeName"] == "expires_at"
    backups = tables.describe_continuous_backups(TableName="from-template")
    recovery = backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    assert recovery["PointInTimeRecoveryStatus"] == "ENABLED"


def test_api_gateway_imports_chalices_swagger(aws: None) -> None:
    """Swagger 2.0 without a description, as `chalice deploy` sends it."""
    document = {
        "swagger": "2.0",
        "info": {"version": "1.0", "title": "ballast"},
        "paths": {"/pubkey": {"get": {"responses": {"200": {"description": "PEM"}}}}},
    }
    apis = boto3.client("apigateway", region_name=REGION)
    api = apis.import_rest_api(body=json.dumps(document).encode())
    apis.put_rest_api(restApiId=api["id"], mode="overwrite", body=json.dumps(document).encode())
    paths = {row["path"] for row in apis.get_resources(restApiId=api["id"])["items"]}
    assert "/pubkey" in paths
