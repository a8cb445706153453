"""The routing view: a group's ready workers, packed into few items; and who waits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from chalicelib.core.model.load import WaitingRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredView:
    """One shard of a view as stored. `core/routing/view.py` packs and unpacks `blob`."""

    shard: int
    n_shards: int
    built_at: float
    blob: bytes


class RoutingViewRepository(Protocol):
    """May raise StorageUnavailableError."""

    def read(self, endpoint_id: int, shard: int) -> StoredView | None:
        """One shard, eventually consistent; shard 0 tells how many there are."""
        ...

    def write(self, endpoint_id: int, views: Sequence[StoredView]) -> None:
        """Replace the view, shard 0 last; an older `built_at` never overwrites a newer one."""
        ...

    def try_lease(self, endpoint_id: int, now: float, duration_s: float) -> bool:
        """Whether the caller may rebuild the view now; at most one per duration."""
        ...

    def read_directory(self) -> bytes | None:
        """The packed directory: names, ids, states and routing parameters of all groups."""
        ...

    def write_directory(self, blob: bytes) -> None:
        """Replace the directory."""
        ...


class WaitingRepository(Protocol):
    """Waiting requests. May raise StorageUnavailableError."""

    def put(self, request: WaitingRequest) -> None:
        """Add, or refresh `last_polled_at`."""
        ...

    def remove(self, endpoint_id: int, request_idx: int) -> None:
        """The request was granted."""
        ...

    def list(self, endpoint_id: int, *, polled_since: float) -> Sequence[WaitingRequest]:
        """Those polled since then, oldest first seen first."""
        ...

    def list_all(self, *, polled_since: float) -> Sequence[WaitingRequest]:
        """The same of all groups, in one pass over what there is."""
        ...
