"""What an on-demand table serves in a second, partition by partition, and how it grows.

Rules and sources: docs/internals/aws-rules.md. Where AWS promises nothing (bursts, how soon a hot
partition is split), the worse is taken: no bursts unless asked for, and five minutes of heat before
a split.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from hashlib import md5

PARTITION_WRITES, PARTITION_READS = 1_000.0, 3_000.0
NEW_TABLE_PARTITIONS = 4  # 4,000 writes and 12,000 reads a second
DOUBLES_AFTER_S = 1_800.0  # twice the peak of half an hour ago is served
HOT_SHARE, HEAT_S = 0.8, 300.0
_SAMPLES = 64  # keys written that a partition remembers, to be cut at their middle

Place = tuple[float, str]  # hash of the partition key in [0, 1), and the sort key


class ThrottledError(Exception):
    """A partition had no more of what was asked in this second."""


@dataclass(slots=True)
class _Partition:
    """From a place to the next partition's. Units are of the running second."""

    begins_at: Place
    second: int = 0
    writes: float = 0.0
    reads: float = 0.0
    saved: float = 0.0  # writes unused before, that a burst may take
    asked: float = 0.0  # writes of the running second, refused ones too
    hot_since: int | None = None
    keys: deque[Place] = field(default_factory=lambda: deque(maxlen=_SAMPLES))

    def enter(self, second: int, most_saved: float) -> None:
        """Begin a second anew; note whether the one before was hot."""
        if second == self.second:
            return
        unused = PARTITION_WRITES * (second - self.second) - self.writes
        self.saved = min(most_saved, self.saved + unused)
        is_hot = self.asked >= HOT_SHARE * PARTITION_WRITES and second == self.second + 1
        self.hot_since = (self.hot_since or self.second) if is_hot else None
        self.second, self.writes, self.reads, self.asked = second, 0.0, 0.0, 0.0


class Partitions:
    """A table's partitions.

    `warm`: how many it has from the beginning (warm throughput). `burst_s`: seconds of unused
    writes that a partition keeps; AWS says up to 300, and promises none.
    """

    def __init__(
        self, warm: int = NEW_TABLE_PARTITIONS, *, burst_s: float = 0.0, seed: int = 0
    ) -> None:
        self._most_saved = burst_s * PARTITION_WRITES
        self._parts = [_Partition((i / warm, "")) for i in range(warm)]
        self._begins = [part.begins_at for part in self._parts]
        self._rng = random.Random(seed)
        self._peaks: deque[tuple[int, float]] = deque()  # (second, writes of the whole table)
        self._second, self._served, self._peak = 0, 0.0, 0.0

    @property
    def n_partitions(self) -> int:
        """How many there are."""
        return len(self._parts)

    def write(self, place: Place, units: float, now: float) -> None:
        """Spend write units.

        Raises:
            ThrottledError: the partition has served its thousand in this second.
        """
        part = self._part(place, now)
        part.asked += units
        if self._rng.random() < _SAMPLES / PARTITION_WRITES:
            part.keys.append(place)
        if part.writes + units > PARTITION_WRITES + part.saved:
            raise ThrottledError("write")
        part.writes += units
        self._served += units

    def read(self, place: Place, units: float, now: float) -> None:
        """Spend read units.

        Raises:
            ThrottledError: the partition has served its three thousand in this second.
        """
        part = self._part(place, now)
        if part.reads + units > PARTITION_READS:
            raise ThrottledError("read")
        part.reads += units

    def _part(self, place: Place, now: float) -> _Partition:
        second = int(now)
        if second != self._second:
            self._next_second(second)
        part = self._parts[bisect_right(self._begins, place) - 1]
        part.enter(second, self._most_saved)
        if part.hot_since is not None and second - part.hot_since >= HEAT_S:
            self._split_hot(part)
            part = self._parts[bisect_right(self._begins, place) - 1]
        return part

    def _next_second(self, second: int) -> None:
        self._peaks.append((self._second, self._served))
        self._second, self._served = second, 0.0
        while self._peaks and self._peaks[0][0] <= second - DOUBLES_AFTER_S:
            self._peak = max(self._peak, self._peaks.popleft()[1])
        while 2 * self._peak > PARTITION_WRITES * len(self._parts):
            self._split_widest()

    def _split_hot(self, part: _Partition) -> None:
        """At the middle of its heat; one item alone cannot be cut."""
        part.hot_since = None
        middle = sorted(part.keys)[len(part.keys) // 2] if part.keys else part.begins_at
        if middle > part.begins_at and len(set(part.keys)) > 1:
            self._insert(middle)
            part.keys.clear()

    def _split_widest(self) -> None:
        ends = [*(at for at, _ in self._begins[1:]), 1.0]
        width, index = max(
            (end - begin[0], i)
            for i, (begin, end) in enumerate(zip(self._begins, ends, strict=True))
        )
        self._insert((self._begins[index][0] + width / 2, ""))

    def _insert(self, place: Place) -> None:
        at = bisect_right(self._begins, place)
        self._begins.insert(at, place)
        self._parts.insert(at, _Partition(place, second=self._second))


def place_of(partition_key: str, sort_key: str) -> Place:
    """Where an item lies."""
    return int.from_bytes(md5(partition_key.encode()).digest()[:6]) / 2**48, sort_key  # noqa: S324
