"""Routing views, their lease and the directory in DynamoDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

from chalicelib.adapters.aws.clients import number_text, storage_errors
from chalicelib.adapters.aws.tables import CHUNK_BYTES, ROUTING
from chalicelib.core.moments import CLOCK_SLIP_S
from chalicelib.ports.errors import ConflictError, StorageUnavailableError
from chalicelib.ports.routing_view import StoredView

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import AttributeValueTypeDef

VIEW_TTL_S = 30 * 86_400
DIRECTORY_KEY = (0, "directory")
_ONE_CHUNK: Mapping[str, str] = {"N": "1"}  # as versions before the chunks wrote it
MAX_CHUNKS = 11  # a transaction takes 4 MB at most

Item = dict[str, "AttributeValueTypeDef"]


class DynamoRoutingViewRepository:
    """Implements `ports.routing_view.RoutingViewRepository`."""

    def __init__(self, client: DynamoDBClient, prefix: str) -> None:
        self._client = client
        self._table = ROUTING.full_name(prefix)

    def read(self, endpoint_id: int, shard: int) -> StoredView | None:
        """One shard, eventually consistent."""
        item = self._get(endpoint_id, f"view#{shard}")
        if item is None:
            return None
        return StoredView(
            shard=shard,
            n_shards=int(item["n_shards"]["N"]),
            built_at=float(item["built_at"]["N"]),
            blob=bytes(item["blob"]["B"]),
        )

    def write(self, endpoint_id: int, views: Sequence[StoredView]) -> None:
        """Replace the view, shard 0 last; an older one never overwrites a newer one."""
        for view in sorted(views, key=lambda v: -v.shard):
            built_at = number_text(view.built_at)
            item: Item = {
                **routing_key(endpoint_id, f"view#{view.shard}"),
                "n_shards": {"N": str(view.n_shards)},
                "built_at": {"N": built_at},
                "blob": {"B": view.blob},
                "expires_at": {"N": str(int(view.built_at) + VIEW_TTL_S)},
            }
            try:
                with storage_errors():
                    self._client.put_item(
                        TableName=self._table,
                        Item=item,
                        ConditionExpression="attribute_not_exists(built_at)"
                        " OR built_at <= :built OR built_at > :ahead",
                        ExpressionAttributeValues={
                            ":built": {"N": built_at},
                            ":ahead": {"N": number_text(view.built_at + CLOCK_SLIP_S)},
                        },
                    )
            except ConflictError:
                return  # a newer view is there already

    def try_lease(self, endpoint_id: int, now: float, duration_s: float) -> bool:
        """Whether the caller may rebuild the view now."""
        try:
            with storage_errors():
                self._client.update_item(
                    TableName=self._table,
                    Key=routing_key(endpoint_id, "lease"),
                    UpdateExpression="SET #until = :until, expires_at = :expires",
                    ConditionExpression="attribute_not_exists(#until) OR #until <= :now"
                    " OR #until > :ahead",
                    ExpressionAttributeNames={"#until": "until"},
                    ExpressionAttributeValues={
                        ":until": {"N": number_text(now + duration_s)},
                        ":now": {"N": number_text(now)},
                        ":ahead": {"N": number_text(now + duration_s + CLOCK_SLIP_S)},
                        ":expires": {"N": str(int(now) + VIEW_TTL_S)},
                    },
                )
        except ConflictError:
            return False
        return True

    def read_directory(self) -> bytes | None:
        """The packed directory: one read, and one more for each further chunk."""
        for is_consistent in (False, True, True):
            first = self._get(*DIRECTORY_KEY, is_consistent=is_consistent)
            if first is None:
                return None
            n_chunks = int(first.get("n_chunks", _ONE_CHUNK)["N"])
            keys = [f"directory#{index}" for index in range(1, n_chunks)]
            rest = [self._get(0, key, is_consistent=is_consistent) for key in keys]
            chunks = [
                item for item in (first, *rest) if item and item.get("seal") == first.get("seal")
            ]
            if len(chunks) == 1 + len(keys):
                return b"".join(bytes(item["blob"]["B"]) for item in chunks)
        raise StorageUnavailableError("the directory changes too fast to be read")

    def write_directory(self, blob: bytes) -> None:
        """Replace the directory: all its chunks in one transaction."""
        chunks = [blob[i : i + CHUNK_BYTES] for i in range(0, len(blob), CHUNK_BYTES)] or [b""]
        if len(chunks) > MAX_CHUNKS:
            raise StorageUnavailableError(
                f"the directory takes {len(blob):,} bytes packed, and one transaction stores "
                f"{CHUNK_BYTES * MAX_CHUNKS:,}: too many groups for one deployment"
            )
        seal: AttributeValueTypeDef = {"S": blake2b(blob, digest_size=16).hexdigest()}
        items: list[Item] = [
            {
                **routing_key(0, f"directory#{index}" if index else DIRECTORY_KEY[1]),
                "blob": {"B": chunk},
                "seal": seal,
                "n_chunks": {"N": str(len(chunks))},
            }
            for index, chunk in enumerate(chunks)
        ]
        with storage_errors("directory"):
            if len(items) == 1:
                self._client.put_item(TableName=self._table, Item=items[0])
                return
            self._client.transact_write_items(
                TransactItems=[{"Put": {"TableName": self._table, "Item": item}} for item in items]
            )

    def _get(self, endpoint_id: int, item: str, *, is_consistent: bool = False) -> Item | None:
        with storage_errors():
            reply = self._client.get_item(
                TableName=self._table,
                Key=routing_key(endpoint_id, item),
                ConsistentRead=is_consistent,
            )
        return reply.get("Item")


def routing_key(endpoint_id: int, item: str) -> Item:
    """The key of an item of the table `routing`."""
    return {"endpoint_id": {"N": str(endpoint_id)}, "item": {"S": item}}
