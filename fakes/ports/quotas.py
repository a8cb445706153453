"""Buckets of keys with limits, in memory."""

from __future__ import annotations

from collections import Counter

from chalicelib.core.routing.quota import KeyBuckets
from chalicelib.ports.errors import PortError


class FakeQuotaRepository:
    """Implements `ports.keys.QuotaRepository`.

    `calls` counts calls by method; `failure`, if set, is raised.
    """

    def __init__(self) -> None:
        self.rows: dict[str, KeyBuckets] = {}
        self.calls: Counter[str] = Counter()
        self.failure: PortError | None = None

    def put(self, buckets: KeyBuckets, *, kept_until: float) -> KeyBuckets | None:
        """Store, if nobody else did meanwhile."""
        del kept_until  # nothing is forgotten here
        self.calls["put"] += 1
        if self.failure is not None:
            raise self.failure
        known = self.rows.get(buckets.key_id)
        if (known.revision if known else 0) != buckets.revision - 1:
            return known or KeyBuckets(key_id=buckets.key_id)
        self.rows[buckets.key_id] = buckets
        return None
