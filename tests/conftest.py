"""Fixtures shared by all tests: corrected AWS in process, one local system, Hypothesis profiles."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import boto3
import pytest
from _pytest.nodeid import NodeId
from botocore.loaders import JSONFileLoader
from hypothesis import HealthCheck, settings
from moto import mock_aws

import lab.local.moto_plus  # noqa: F401  corrects moto on import
from chalicelib.adapters.aws.tables import create_tables
from lab.local.system.local_system import LocalSystem, Options, local_system

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_kms import KMSClient


def _read_once(load: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    read: dict[str, Any] = {}

    def load_file(self: Any, file_path: str) -> Any:
        if file_path not in read:
            read[file_path] = load(self, file_path)
        return read[file_path]

    return load_file


settings.register_profile(
    "ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci")

os.environ["BALLAST_AFFINITY_KEY"] = "of the tests: no user's file is made or read"

# Each session of botocore reads its megabytes of service models anew, and tests make hundreds.
JSONFileLoader.load_file = _read_once(JSONFileLoader.load_file)  # type: ignore[method-assign,assignment]

TABLE_PREFIX = "ballast-test"
KMS_ALIAS = "alias/ballast-test"
PEERS = Path(__file__).parent / "peers"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty AWS account in this process (moto with our corrections)."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield


@pytest.fixture
def dynamodb(aws: None) -> DynamoDBClient:
    """A DynamoDB client on an account that has Ballast's tables under TABLE_PREFIX."""
    client = boto3.client("dynamodb", region_name="us-east-1")
    create_tables(client, TABLE_PREFIX)
    return client


@pytest.fixture
def kms(aws: None) -> KMSClient:
    """A KMS client on an account that has the wrapping key under KMS_ALIAS."""
    client = boto3.client("kms", region_name="us-east-1")
    key_id = client.create_key()["KeyMetadata"]["KeyId"]
    client.create_alias(AliasName=KMS_ALIAS, TargetKeyId=key_id)
    return client


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None]:
    """Tests of one local system go to one process of pytest-xdist, which starts it once.

    The vendor's programs have one, everything else has the other. Both wait more than they compute,
    so `make test` has two processes more than that. Files come in a mixed order there: in that of
    their names folders that wait and folders that compute follow one another.
    """
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: crc32(item.location[0].encode()))
    for item in items:
        if "system" in getattr(item, "fixturenames", ()):
            is_peer = item.path.is_relative_to(PEERS)
            item.add_marker(pytest.mark.xdist_group("peers" if is_peer else "system"))
    yield
    for item in items:  # pytest-xdist 3.8.0 writes the group where pytest 9.2 no longer reads it
        meant = getattr(item, "_nodeid", None)
        if meant is not None:
            item._id = NodeId.parse(meant)


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    """The whole of Ballast as processes on this machine, shared by every test that needs one."""
    options = Options(
        time_scale=60.0,
        round_interval_s=1.0,
        state_directory=tmp_path_factory.mktemp("system"),
    )
    with local_system(options, print) as running:
        yield running
