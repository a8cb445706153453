"""Fixtures shared by all tests: corrected AWS in process, one local system, Hypothesis profiles."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import boto3
import pytest
from _pytest.nodeid import NodeId
from hypothesis import HealthCheck, settings
from moto import mock_aws

from chalicelib.adapters.aws.tables import create_tables
from lab.local.system.local_system import LocalSystem, Options, local_system

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_kms import KMSClient


settings.register_profile(
    "ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci")

os.environ["BALLAST_AFFINITY_KEY"] = "of the tests: no user's file is made or read"

TABLE_PREFIX = "ballast-test"
KMS_ALIAS = "alias/ballast-test"
PEERS = Path(__file__).parent / "peers"
ROOT = Path(__file__).parent.parent


def pytest_sessionstart(session: pytest.Session) -> None:
    """Correct moto where tests run, which is not where pytest-xdist hands them out."""
    if session.config.pluginmanager.hasplugin("dsession"):
        return
    import_module("lab.local.moto_plus")
    _import_in_turn(session.config)


def _import_in_turn(config: pytest.Config) -> None:
    """Each process of pytest-xdist begins to import the tests at another place.

    Pytest rewrites a file's assertions once and keeps the result, for all processes; those that
    read the files of a fresh clone in one order all rewrite all of them: 9 s of a core each.
    """
    worker = getattr(config, "workerinput", None)
    if worker is None:
        return
    folders = [ROOT / arg for arg in config.args]
    files = sorted(path for folder in folders for path in folder.rglob("test_*.py"))
    begin = len(files) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    for path in files[begin:] + files[:begin]:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        with suppress(Exception, pytest.skip.Exception):  # the collection tells
            import_module(name)


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
    """Tests that share what is slow to make go to one process of pytest-xdist, which makes it once.

    One local system serves the vendor's programs, another everything else. Both wait more than they
    compute, so `make test` has two processes more than that. Files come in a mixed order there: in
    that of their names folders that wait and folders that compute follow one another.
    """
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: crc32(item.location[0].encode()))
    for item in items:
        if not item.get_closest_marker("xdist_group") and (group := _group_of(item)):
            item.add_marker(pytest.mark.xdist_group(group))
    yield
    for item in items:  # pytest-xdist 3.8.0 writes the group where pytest 9.2 no longer reads it
        meant = getattr(item, "_nodeid", None)
        if meant is not None:
            item._id = NodeId.parse(meant)


def _group_of(item: pytest.Item) -> str:
    """Who shares what is slow to make: a local system, or what a file makes for all its tests."""
    if _needs_system(item):
        return "peers" if item.path.is_relative_to(PEERS) else "system"
    made = getattr(item, "_fixtureinfo", None)
    defined = made.name2fixturedefs.values() if made else ()
    is_shared = any(last.scope == "module" and last.baseid for *_, last in defined)
    return item.location[0] if is_shared else ""


def _needs_system(item: pytest.Item | None) -> bool:
    return "system" in getattr(item, "fixturenames", ())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
    """Under pytest-xdist the local system ends with the last of its tests.

    It is the session's, and would work, with its workers, until the last test of all.
    """
    yield
    is_last = _needs_system(item) and not _needs_system(nextitem)
    if is_last and hasattr(item.config, "workerinput"):
        system = item._fixtureinfo.name2fixturedefs["system"][-1]  # type: ignore[attr-defined]
        system.finish(item._request)  # type: ignore[attr-defined]


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
