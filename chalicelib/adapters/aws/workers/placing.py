"""Under which partition key a worker's row lies.

One key takes 1,000 writes a second (docs/internals/aws-rules.md), so the rows of a large group lie
under several. A small group has one key, and is read by one query.
"""

from __future__ import annotations

SPREAD = ((32, 1), (256, 8))
"""(rows, shards): up to so many rows are added under so many keys. A busy worker takes up to 7
writes a second (grants with their attempts, reports), so 32 take a quarter of what a key does."""

MAX_SHARDS = 32
_STRIDE = 10**12  # key 3_000_000_000_007 is shard 3 of group 7
_MIX = 0x9E3779B1  # 2**32 divided by the golden ratio: ids in a row spread evenly


def shard_key(endpoint_id: int, shard: int) -> int:
    """The partition key of a group's shard; that of shard 0 is the group's id."""
    return endpoint_id + shard * _STRIDE


def group_and_shard(key: int) -> tuple[int, int]:
    """(endpoint id, shard) of a partition key."""
    shard, endpoint_id = divmod(key, _STRIDE)
    return endpoint_id, shard


def shards_for(n_rows: int) -> int:
    """Over how many shards a group of so many rows adds new ones."""
    return next((shards for most, shards in SPREAD if n_rows <= most), MAX_SHARDS)


def places_of(instance_id: int, n_shards: int) -> tuple[int, ...]:
    """The shards where a row of a group with so many shards may lie, the likeliest first.

    A row stays where it was added, when the group may have had fewer.
    """
    mixed = (instance_id * _MIX & 0xFFFF_FFFF) >> 8
    extents = sorted({MAX_SHARDS, *(shards for _, shards in SPREAD)}, reverse=True)
    return tuple(dict.fromkeys(mixed % extent for extent in extents if extent <= n_shards))
