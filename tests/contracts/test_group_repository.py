"""One suite for both stores of endpoint groups and autogroups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.adapters.aws.groups import DynamoGroupRepository
from chalicelib.core.model.autogroup import Autogroup, AutogroupState, TicketGeneration
from chalicelib.core.model.endpoint_group import (
    EndpointGroup,
    FloorSchedule,
    GroupState,
    Interruptible,
    QueueOrder,
    ScalingParams,
)
from chalicelib.ports.errors import ConflictError, StorageUnavailableError
from chalicelib.ports.group_repository import GroupRepository
from fakes.ports.group_repository import FakeGroupRepository
from tests.conftest import TABLE_PREFIX


@pytest.fixture(params=["fake", "dynamo"])
def groups(request: pytest.FixtureRequest) -> Iterator[GroupRepository]:
    if request.param == "fake":
        yield FakeGroupRepository()
    else:
        yield DynamoGroupRepository(request.getfixturevalue("dynamodb"), TABLE_PREFIX)


def make_group(endpoint_id: int = 100, name: str = "llm", revision: int = 1) -> EndpointGroup:
    return EndpointGroup(endpoint_id=endpoint_id, name=name, created_at=1.5, revision=revision)


def make_autogroup(autogroup_id: int = 200, endpoint_id: int = 100) -> Autogroup:
    return Autogroup(autogroup_id=autogroup_id, endpoint_id=endpoint_id, created_at=1.5)


def test_ids_are_never_given_twice(groups: GroupRepository) -> None:
    ids = [groups.next_id() for _ in range(5)]
    assert ids == sorted(set(ids))
    assert ids[0] >= 100


def test_a_group_comes_back_as_it_was(groups: GroupRepository) -> None:
    group = EndpointGroup(
        endpoint_id=100,
        name="a b",
        created_at=1.25,
        params=ScalingParams(
            min_load=0.1,
            target_util=0.9,
            queue_order=QueueOrder.FIFO,
            interruptible=Interruptible.MIXED,
            interruptible_share=0.5,
            max_usd_per_hour=1.5,
        ),
        state=GroupState.SUSPENDED,
        given=("min_load",),
        schedules=(FloorSchedule(cron="0 8 * * 1-5", duration_s=60.0, min_load=5.0),),
        frozen=True,
    )
    groups.add_group(group)
    assert groups.find_group(100) == group
    assert groups.find_group(101) is None
    assert list(groups.list_groups()) == [group]


def test_an_autogroup_comes_back_as_it_was(groups: GroupRepository) -> None:
    autogroup = Autogroup(
        autogroup_id=200,
        endpoint_id=100,
        created_at=1.25,
        template_hash="abc",
        search_text="gpu_ram>=23",
        search_query={"gpu_ram": {"gte": 23000.0}, "verified": {"eq": True}},
        ticket_override=TicketGeneration.C,
        interruptible=Interruptible.OVERFLOW,
        state=AutogroupState.PAUSED,
        legacy_params={"min_load": 1.5, "max_workers": 3},
        rollout_by=7.5,
    )
    groups.add_autogroup(autogroup)
    assert groups.find_autogroup(200) == autogroup
    assert groups.find_autogroup(201) is None


def test_a_name_belongs_to_one_group(groups: GroupRepository) -> None:
    groups.add_group(make_group())
    with pytest.raises(ConflictError):
        groups.add_group(make_group(endpoint_id=101))
    with pytest.raises(ConflictError):
        groups.add_group(make_group(name="other"))
    groups.remove_group(100)
    groups.add_group(make_group(endpoint_id=101))


def test_renaming_moves_the_name(groups: GroupRepository) -> None:
    groups.add_group(make_group())
    groups.add_group(make_group(endpoint_id=101, name="taken"))
    with pytest.raises(ConflictError):
        groups.put_group(make_group(name="taken", revision=2), expected_revision=1)
    groups.put_group(make_group(name="new", revision=2), expected_revision=1)
    groups.add_group(make_group(endpoint_id=102, name="llm"))
    assert [group.name for group in groups.list_groups()] == ["new", "taken", "llm"]


def test_the_second_of_two_concurrent_changes_is_refused(groups: GroupRepository) -> None:
    groups.add_group(make_group())
    groups.add_autogroup(make_autogroup())
    groups.put_group(make_group(revision=2), expected_revision=1)
    groups.put_autogroup(replace(make_autogroup(), revision=2), expected_revision=1)
    with pytest.raises(ConflictError):
        groups.put_group(make_group(revision=2), expected_revision=1)
    with pytest.raises(ConflictError):
        groups.put_autogroup(replace(make_autogroup(), revision=2), expected_revision=1)


def test_what_is_gone_cannot_be_changed_and_may_be_removed_again(groups: GroupRepository) -> None:
    with pytest.raises(ConflictError):
        groups.put_group(make_group(revision=2), expected_revision=1)
    with pytest.raises(ConflictError):
        groups.put_autogroup(make_autogroup(), expected_revision=1)
    groups.remove_group(100)
    groups.remove_autogroup(200)
    assert list(groups.list_groups()) == []


def test_autogroups_are_listed_by_id_and_by_group(groups: GroupRepository) -> None:
    for autogroup_id, endpoint_id in ((1000, 100), (201, 101), (200, 100)):
        groups.add_autogroup(make_autogroup(autogroup_id, endpoint_id))
    with pytest.raises(ConflictError):
        groups.add_autogroup(make_autogroup())
    assert [a.autogroup_id for a in groups.list_autogroups()] == [200, 201, 1000]
    assert [a.autogroup_id for a in groups.list_autogroups(100)] == [200, 1000]
    groups.remove_autogroup(200)
    assert [a.autogroup_id for a in groups.list_autogroups(100)] == [1000]


def test_of_two_creates_that_saw_the_same_list_one_is_refused(groups: GroupRepository) -> None:
    for first_id in (200, 202):
        n_before = groups.n_autogroups_added()
        groups.add_autogroup(make_autogroup(first_id), n_before=n_before)
        with pytest.raises(ConflictError):
            groups.add_autogroup(make_autogroup(first_id + 1), n_before=n_before)
    assert [a.autogroup_id for a in groups.list_autogroups()] == [200, 202]
    groups.remove_autogroup(202)
    assert groups.n_autogroups_added() == 2


def test_fields_of_newer_code_are_ignored(dynamodb: object) -> None:
    """Old and new code run side by side during an upgrade."""
    groups = DynamoGroupRepository(dynamodb, TABLE_PREFIX)  # type: ignore[arg-type]
    groups.add_group(make_group())
    item = groups._items.get("group", "100")
    item.body = item.body.replace('"shadow"', '"from_the_future": 1, "shadow"')
    item.save()
    assert groups.find_group(100) == make_group()


def test_a_database_that_does_not_answer_is_told_apart() -> None:
    class Down:
        """A client whose every call fails to connect."""

        class meta:  # noqa: N801  botocore's own name
            region_name = "us-east-1"

        def __getattr__(self, name: str) -> object:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9")

    groups = DynamoGroupRepository(Down(), TABLE_PREFIX)  # type: ignore[arg-type]
    with pytest.raises(StorageUnavailableError):
        groups.list_groups()
