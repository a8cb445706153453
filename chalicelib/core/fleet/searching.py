"""When offers are searched again: at once after a change, ever more rarely while nothing changes.

Vast's daily quota counts the rows that it returns, for the whole account: a group that cannot rent
must not use it up for all (tests/evidence/vast/README.md: about 276,000 rows a day were seen to
fit).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from chalicelib.core.fleet.pacing import SECONDS_PER_DAY

FIRST_PAUSE_S = 6.0  # the least interval that Vast allows; doubled while nothing changes
LONGEST_PAUSE_S = 300.0  # so that 24 h of one stuck group are fewer than 300 searches
LOOKS_EACH_S = 1800.0
"""Chosen: the market changes over hours, and 48 looks a day of 64 rows are 2 % of the budget."""
MOST_ROWS = 64  # that one search returns (tests/evidence/vast/README.md)
DAILY_ROWS = 138_000  # half of what was seen to fit: the owner searches with the same account


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchPace:
    """How an autogroup has been searched for since its situation last changed."""

    situation: int = 0  # a digest of what was the case at the last search
    n_same: int = 0  # searches of this situation
    searched_at: float = 0.0

    def pause_s(self) -> float:
        """How long the next search of the same situation waits after the last."""
        doubled = FIRST_PAUSE_S * 2.0 ** min(max(self.n_same - 1, 0), 10)
        return min(doubled, LONGEST_PAUSE_S)

    def is_due(self, situation: int, now: float) -> bool:
        """Whether to search now."""
        if self.n_same < 1 or situation != self.situation:
            return True
        return now - self.searched_at >= self.pause_s() or now < self.searched_at

    def searched(self, situation: int, now: float) -> SearchPace:
        """After a search."""
        n_same = self.n_same + 1 if situation == self.situation else 1
        return SearchPace(situation=situation, n_same=n_same, searched_at=now)


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchDay:
    """What one UTC day has used of the account's search quota."""

    day: int = 0
    n_searches: int = 0
    n_rows: int = 0

    def counted(self, n_rows: int, now: float) -> SearchDay:
        """After one search that returned so many rows."""
        today = self.on(now)
        return replace(today, n_searches=today.n_searches + 1, n_rows=today.n_rows + n_rows)

    def on(self, now: float) -> SearchDay:
        """This day's use; a new day begins with none."""
        day = int(now // SECONDS_PER_DAY)
        return self if day == self.day else SearchDay(day=day)

    def is_used_up(self, now: float) -> bool:
        """Whether only the longest pauses are affordable until midnight."""
        return self.on(now).n_rows >= DAILY_ROWS


@dataclass(slots=True)
class SearchBook:
    """A round's view of paces and budget; it notes each search that is made."""

    paces: dict[int, SearchPace] = field(default_factory=dict)
    day: SearchDay = field(default_factory=SearchDay)

    def is_due(self, autogroup_id: int, situation: int, now: float) -> bool:
        """Whether this autogroup is searched for now."""
        pace = self.paces.get(autogroup_id, SearchPace())
        if self.day.is_used_up(now) and 0 <= now - pace.searched_at < LONGEST_PAUSE_S:
            return False
        if pace.situation == situation and pace.pause_s() >= LONGEST_PAUSE_S:
            return not 0 <= now - pace.searched_at < self.shared_pause_s(now)
        return pace.is_due(situation, now)

    def is_look_due(self, autogroup_id: int, now: float) -> bool:
        """Whether to look what the market has, though nothing is missing."""
        pace = self.paces.get(autogroup_id, SearchPace())
        return not self.day.is_used_up(now) and not 0 <= now - pace.searched_at < LOOKS_EACH_S

    def shared_pause_s(self, now: float) -> float:
        """How long those that nothing changes for wait, so that all of them fit into the day."""
        n_stuck = sum(pace.pause_s() >= LONGEST_PAUSE_S for pace in self.paces.values())
        today = self.day.on(now)
        rows = today.n_rows / today.n_searches if today.n_searches else MOST_ROWS
        return max(LONGEST_PAUSE_S, n_stuck * rows * SECONDS_PER_DAY / DAILY_ROWS)

    def note(self, autogroup_id: int, situation: int, n_rows: int, now: float) -> None:
        """A search was made."""
        pace = self.paces.get(autogroup_id, SearchPace())
        self.paces[autogroup_id] = pace.searched(situation, now)
        self.day = self.day.counted(n_rows, now)


def digest(*facts: object) -> int:
    """A number that changes when one of these facts does."""
    return zlib.crc32(repr(facts).encode())


def paces_from(raw: Mapping[str, SearchPace]) -> dict[int, SearchPace]:
    """The remembered paces by autogroup id."""
    return {int(key): pace for key, pace in raw.items()}
