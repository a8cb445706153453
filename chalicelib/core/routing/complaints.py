"""Complaints: which workers the callers' requests come back from, as one router sees it. Pure.

A client that comes back with the index of a grant was failed by that worker. Callers can be wrong,
or lie: a key's complaints turn only that key's own requests away, and at once. For everybody a
worker is suspect only when two keys agree that are at least half of those it was lately granted to,
or, where one key makes nearly all the traffic, when it fails far more than its peers do; and only a
third of a fleet at once (`MOST_SUSPECTS`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from chalicelib.core.model.load import LEAST_REQUESTS

HALF_LIFE_S = 300.0  # of what is remembered
BAD_SHARE = 0.5  # of a key's grants at a worker: from there on it turns away
FIRST_AVOIDED_S, LONGEST_AVOIDED_S = 5.0, 60.0  # doubles with each complaint
LEAST_EACH = 0.7  # of each of two keys that agree: one complaint within two or three minutes
AGREEING = 0.5  # of the keys that were granted it lately: two that lie do not outvote the others
LEAST_ALONE, ALONE_SHARE = 3.5, 0.8  # of the one key that makes nearly all the traffic: four
NEARLY_ALL = 0.9  # chosen: below it the callers may be to blame
PEERS_AT_MOST = 0.25  # of that key's grants elsewhere may fail as well
MOST_SUSPECTS = 3  # one in so many
MAX_PAIRS = 20_000  # chosen: bounds the memory of a router


@dataclass(slots=True)
class _Tally:
    """A key's grants at a worker, and how many came back; fading."""

    n: float = 0.0
    n_bad: float = 0.0
    at: float = 0.0

    def fade(self, now: float) -> None:
        if now > self.at:
            keep = 0.5 ** ((now - self.at) / HALF_LIFE_S)
            if self.n * keep < LEAST_REQUESTS:
                keep = 0.0  # else what failed hours ago would still be all that failed
            self.n, self.n_bad = self.n * keep, self.n_bad * keep
        self.at = now


@dataclass(slots=True)
class Complaints:
    """By worker slot and key. One of a group in each router; losing it loses little."""

    tallies: dict[int, dict[str, _Tally]] = field(default_factory=dict)
    avoided: dict[str, dict[int, float]] = field(default_factory=dict)  # key -> slot -> until
    failed_at: dict[int, dict[str, float]] = field(default_factory=dict)  # slot -> key -> last
    n_pairs: int = 0

    def granted(self, slot: int, key_id: str, now: float) -> None:
        """A request under this key was given to this worker."""
        self._tally(slot, key_id, now).n += 1.0

    def failed(self, slot: int, key_id: str, now: float) -> None:
        """A request under this key came back from this worker."""
        tally = self._tally(slot, key_id, now)
        tally.n_bad += 1.0
        tally.n = max(tally.n, tally.n_bad)  # another router may have granted it
        self.failed_at.setdefault(slot, {})[key_id] = now
        if tally.n_bad >= BAD_SHARE * tally.n:
            pause_s = FIRST_AVOIDED_S * 2.0 ** min(round(tally.n_bad) - 1, 10)
            until = now + min(LONGEST_AVOIDED_S, pause_s)
            self.avoided.setdefault(key_id, {})[slot] = until

    def avoided_by(self, key_id: str, now: float) -> frozenset[int]:
        """The slots that this key's requests turn away from now."""
        own = self.avoided.get(key_id)
        if not own:
            return frozenset()
        kept = {slot: until for slot, until in own.items() if until > now}
        if kept:
            self.avoided[key_id] = kept
        else:
            del self.avoided[key_id]
        return frozenset(kept)

    def turned_from(self, key_id: str, n_workers: int, now: float) -> frozenset[int]:
        """As `avoided_by`; nobody, if that were more than a third of the workers.

        Then the fault is the key's own, or nobody could serve it.
        """
        slots = self.avoided_by(key_id, now)
        most = min(max(1, n_workers // MOST_SUSPECTS), n_workers - 1)
        return slots if len(slots) <= most else frozenset()

    def last_failed_at(self, slot: int, key_id: str) -> float | None:
        """When this worker last failed this key."""
        return self.failed_at.get(slot, {}).get(key_id)

    def is_convicted(self, slot: int, now: float) -> bool:
        """Whether the worker is to be suspect for all callers."""
        by_key = self.tallies.get(slot, {})
        for tally in by_key.values():
            tally.fade(now)
        n_bad = sum(1 for t in by_key.values() if t.n_bad >= max(LEAST_EACH, BAD_SHARE * t.n))
        n_served = sum(1 for t in by_key.values() if t.n >= LEAST_EACH)
        if n_bad >= 2 and n_bad >= AGREEING * n_served:
            return True
        return self._fails_the_only_key(slot, now)

    def forget(self, slot: int) -> None:
        """What was complained of is acted on: count anew."""
        self.n_pairs -= len(self.tallies.pop(slot, {}))
        self.failed_at.pop(slot, None)

    def clear(self) -> None:
        """Forget everything."""
        self.n_pairs = 0
        self.tallies.clear()
        self.avoided.clear()
        self.failed_at.clear()

    def _tally(self, slot: int, key_id: str, now: float) -> _Tally:
        tally = self.tallies.get(slot, {}).get(key_id)
        if tally is None:
            if self.n_pairs >= MAX_PAIRS:
                self.clear()
            self.n_pairs += 1
            tally = self.tallies.setdefault(slot, {})[key_id] = _Tally(at=now)
        tally.fade(now)
        return tally

    def _fails_the_only_key(self, slot: int, now: float) -> bool:
        by_key = self.tallies.get(slot, {})
        main = max(by_key, key=lambda key_id: by_key[key_id].n, default="")
        own = by_key.get(main, _Tally())
        if own.n_bad < LEAST_ALONE or own.n_bad < ALONE_SHARE * own.n:
            return False
        n = n_main = 0.0
        peers = []
        for other, tallies in self.tallies.items():
            for key_id, tally in tallies.items():
                tally.fade(now)
                n += tally.n
                if key_id == main:
                    n_main += tally.n
                    peers += [tally] if other != slot else []
        return n_main >= NEARLY_ALL * n and _share(peers) <= PEERS_AT_MOST


def may_suspect(n_ready: int, n_suspect: int) -> bool:
    """Whether one more worker may be set aside on callers' word."""
    return n_suspect < max(1, (n_ready + n_suspect) // MOST_SUSPECTS)


def _share(tallies: Iterable[_Tally]) -> float:
    known = list(tallies)
    n = sum(t.n for t in known)
    return sum(t.n_bad for t in known) / n if n > 0 else 0.0
