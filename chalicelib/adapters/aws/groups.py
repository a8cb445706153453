"""Endpoint groups and autogroups in DynamoDB, through pynamodb.

An item holds the value as JSON beside the revision that guards it: no Decimals, and code of another
version reads what it knows and keeps defaults for the rest. A second item per group, of kind
`name`, makes its name unique; both change in one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.attributes import NumberAttribute, UnicodeAttribute
from pynamodb.connection import Connection
from pynamodb.exceptions import PynamoDBException
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite

from chalicelib.adapters.aws.clients import told_of_storage
from chalicelib.adapters.aws.tables import CONFIG
from chalicelib.core.codec import CodecError, from_plain, names_of, to_json, to_plain
from chalicelib.core.model.autogroup import Autogroup, AutogroupState
from chalicelib.core.model.endpoint_group import (
    NAME_PATTERN,
    EndpointGroup,
    GroupState,
    ScalingParams,
)
from chalicelib.ports.errors import ConflictError, StorageUnavailableError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

FIRST_ID = 100
T = TypeVar("T")


class ConfigItem(Model):
    """An item of the table `config`."""

    kind = UnicodeAttribute(hash_key=True)
    item_id = UnicodeAttribute(range_key=True, attr_name="id")
    revision = NumberAttribute(default=0)
    body = UnicodeAttribute(default="")


class DynamoGroupRepository:
    """GroupRepository on the table `config`."""

    def __init__(self, client: DynamoDBClient, prefix: str) -> None:
        region = client.meta.region_name
        meta = type("Meta", (), {"table_name": CONFIG.full_name(prefix), "region": region})
        self._items: type[ConfigItem] = type("BoundConfigItem", (ConfigItem,), {"Meta": meta})
        self._connection = Connection(region=region)
        # pynamodb would make one client per model, 40 ms each and with time-outs of its own
        # (pynamodb #876); every model shares the caller's client instead.
        shared: Any = client
        self._connection._client = shared
        self._items._get_connection().connection._client = shared

    def next_id(self) -> int:
        """A fresh id for a group or autogroup; never given twice."""
        with _storage_errors():
            counter = self._items("counter", "next_id")
            counter.update(actions=[ConfigItem.revision.add(1)])
            return FIRST_ID - 1 + int(counter.revision)

    def list_groups(self) -> Sequence[EndpointGroup]:
        """All groups, by id."""
        return self._list("group", _group)

    def find_group(self, endpoint_id: int) -> EndpointGroup | None:
        """One group."""
        return self._find("group", endpoint_id, _group)

    def add_group(self, group: EndpointGroup) -> None:
        """A new group.

        Raises:
            ConflictError: a group has this id or this name.
        """
        absent = ConfigItem.kind.does_not_exist()
        with _storage_errors(f"a group has the name {group.name!r}"), self._transaction() as write:
            write.save(self._group_item(group), condition=absent)
            write.save(self._name_item(group), condition=absent)

    def put_group(self, group: EndpointGroup, *, expected_revision: int) -> None:
        """Replace a group, its name too.

        Raises:
            ConflictError: its revision is not the expected one, or its new name is taken.
        """
        before = self.find_group(group.endpoint_id)
        unchanged = ConfigItem.revision == expected_revision
        conflict = f"{group.name!r} was changed meanwhile, or the name is taken"
        with _storage_errors(conflict), self._transaction() as write:
            write.save(self._group_item(group), condition=unchanged)
            if before is not None and before.name != group.name:
                write.delete(self._name_item(before))
                write.save(self._name_item(group), condition=ConfigItem.kind.does_not_exist())

    def remove_group(self, endpoint_id: int) -> None:
        """Forget a group."""
        group = self.find_group(endpoint_id)
        if group is None:
            return
        with _storage_errors(), self._transaction() as write:
            write.delete(self._group_item(group))
            write.delete(self._name_item(group))

    def list_autogroups(self, endpoint_id: int | None = None) -> Sequence[Autogroup]:
        """All autogroups, or those of one group, by id."""
        autogroups = self._list("autogroup", _autogroup)
        return [a for a in autogroups if endpoint_id is None or a.endpoint_id == endpoint_id]

    def find_autogroup(self, autogroup_id: int) -> Autogroup | None:
        """One autogroup."""
        return self._find("autogroup", autogroup_id, _autogroup)

    def n_autogroups_added(self) -> int:
        """How many autogroups were ever added."""
        with _storage_errors():
            try:
                counter = self._items.get("counter", "autogroups", consistent_read=True)
            except self._items.DoesNotExist:
                return 0
        return int(counter.revision)

    def add_autogroup(self, autogroup: Autogroup, *, n_before: int | None = None) -> None:
        """A new autogroup; with `n_before` only if as many were ever added before.

        Raises:
            ConflictError: the id is taken, or others were added meanwhile.
        """
        absent = ConfigItem.kind.does_not_exist()
        unchanged = absent if n_before == 0 else ConfigItem.revision == n_before
        conflict = f"autogroups were added beside {autogroup.autogroup_id}, or its id is taken"
        with _storage_errors(conflict), self._transaction() as write:
            write.save(self._autogroup_item(autogroup), condition=absent)
            write.update(
                self._items("counter", "autogroups"),
                actions=[ConfigItem.revision.add(1)],
                condition=None if n_before is None else unchanged,
            )

    def put_autogroup(self, autogroup: Autogroup, *, expected_revision: int) -> None:
        """Replace an autogroup.

        Raises:
            ConflictError: its revision is not the expected one.
        """
        with _storage_errors(f"autogroup {autogroup.autogroup_id} was changed meanwhile"):
            unchanged = ConfigItem.revision == expected_revision
            self._autogroup_item(autogroup).save(condition=unchanged)

    def remove_autogroup(self, autogroup_id: int) -> None:
        """Forget an autogroup."""
        with _storage_errors():
            self._items("autogroup", str(autogroup_id)).delete()

    def _list(self, kind: str, read: Callable[[Any, int], T]) -> list[T]:
        with _storage_errors():
            items = list(self._items.query(kind, consistent_read=True))
        by_id = sorted((int(item.item_id), item.body) for item in items)
        return [read(_plain(body), item_id) for item_id, body in by_id]

    def _find(self, kind: str, item_id: int, read: Callable[[Any, int], T]) -> T | None:
        with _storage_errors():
            try:
                item = self._items.get(kind, str(item_id), consistent_read=True)
            except self._items.DoesNotExist:
                return None
        return read(_plain(item.body), item_id)

    def _transaction(self) -> TransactWrite:
        return TransactWrite(connection=self._connection)

    def _group_item(self, group: EndpointGroup) -> ConfigItem:
        body = _body(group)
        return self._items("group", str(group.endpoint_id), revision=group.revision, body=body)

    def _name_item(self, group: EndpointGroup) -> ConfigItem:
        return self._items("name", group.name, body=str(group.endpoint_id))

    def _autogroup_item(self, autogroup: Autogroup) -> ConfigItem:
        return self._items(
            "autogroup",
            str(autogroup.autogroup_id),
            revision=autogroup.revision,
            body=_body(autogroup),
        )


@contextmanager
def _storage_errors(conflict: str = "changed meanwhile") -> Iterator[None]:
    """Turn pynamodb's errors into the ports'."""
    try:
        yield
    except PynamoDBException as error:
        if not isinstance(error.cause, ClientError | BotoCoreError):
            raise StorageUnavailableError(f"groups cannot be reached: {error}") from error
        told = told_of_storage(error.cause, "groups cannot be reached")
        raise (ConflictError(conflict) if isinstance(told, ConflictError) else told) from error


def _body(item: EndpointGroup | Autogroup) -> str:
    """The item as JSON, with what another version wrote beside."""
    plain = to_plain(item)
    if isinstance(item, EndpointGroup):
        plain["params"] = {**_params_beside(item.unknown), **to_plain(item.params)}
    return to_json(plain)


def _params_beside(unknown: Mapping[str, object]) -> Mapping[str, object]:
    """Parameters of another version: they survive an update by this one."""
    beside = unknown.get("params", {})
    return beside if isinstance(beside, Mapping) else {}


def _plain(body: str) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None  # a form of another version


def _group(body: Any, endpoint_id: int) -> EndpointGroup:
    """The group; one that this version cannot read whole is FOREIGN, and nobody changes it."""
    try:
        group: EndpointGroup | None = from_plain(EndpointGroup, body)
    except CodecError:
        group = None
    if group is None or group.endpoint_id != endpoint_id:
        known = body if isinstance(body, Mapping) else {}
        name, created_at = known.get("name"), known.get("created_at")
        is_name = isinstance(name, str) and NAME_PATTERN.fullmatch(name)
        return EndpointGroup(
            endpoint_id=endpoint_id,
            name=str(name) if is_name else f"foreign-{endpoint_id}",
            created_at=created_at if isinstance(created_at, float) else 0.0,
            state=GroupState.FOREIGN,
        )
    own = names_of(ScalingParams)
    params = body.get("params", {})
    beside = {name: value for name, value in params.items() if name not in own}
    return replace(group, unknown={**group.unknown, "params": beside}) if beside else group


def _autogroup(body: Any, autogroup_id: int) -> Autogroup:
    """The autogroup; one that this version cannot read whole is FOREIGN, and nobody changes it."""
    try:
        autogroup: Autogroup | None = from_plain(Autogroup, body)
    except CodecError:
        autogroup = None
    if autogroup is None or autogroup.autogroup_id != autogroup_id:
        endpoint_id = body.get("endpoint_id") if isinstance(body, Mapping) else 0
        return Autogroup(
            autogroup_id=autogroup_id,
            endpoint_id=endpoint_id if type(endpoint_id) is int else 0,
            created_at=0.0,
            state=AutogroupState.FOREIGN,
        )
    return autogroup
