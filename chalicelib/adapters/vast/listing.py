"""Pages of Vast's v1 listing → one listing that says whether it can be believed.

Every kind of doubt ends in `is_complete=False` with its name, never in a shorter list.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from chalicelib.adapters.vast.rows import RowError, dict_rows, parse_instance
from chalicelib.adapters.vast.values import whole
from chalicelib.core.codec import CodecError, from_plain, to_json
from chalicelib.core.model.market import InstanceListing, InstanceRecord

MAX_PAGES = 1_000
MAX_MOVED = 5  # machines that come or go within one listing, in a small account
MAX_MOVED_SHARE = 0.2  # and in a big one; beyond that the totals are noise, not movement


class DoubtError(Exception):
    """The listing cannot be believed; the message names why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _SoFar:
    """A listing that was cut short, as it is kept."""

    started_at: float
    next_token: str
    n_pages: int
    rows: Sequence[InstanceRecord]
    tokens: Sequence[str]
    totals: Sequence[int]


@dataclass(slots=True)
class ListingBuilder:
    """Takes pages in order; `next_token` is None once the last one came.

    Machines come and go while one pages, the owner's others too. A total that moves from page to
    page tells of it: then as many rows more or fewer are believed. What such a listing does not
    show is no proof by itself; nothing is taken for gone without a direct look.
    """

    started_at: float
    next_token: str | None = None
    n_pages: int = 0
    _rows: dict[int, InstanceRecord] = field(default_factory=dict)
    _tokens: set[str] = field(default_factory=set)
    _totals: list[int] = field(default_factory=list)

    @classmethod
    def going_on(cls, so_far: Mapping[str, object]) -> ListingBuilder | None:
        """The listing that was cut short; None if this is another version's, or nothing."""
        try:
            kept = from_plain(_SoFar, so_far)
        except CodecError:
            return None
        return cls(
            started_at=kept.started_at,
            next_token=kept.next_token,
            n_pages=kept.n_pages,
            _rows={row.instance_id: row for row in kept.rows},
            _tokens=set(kept.tokens),
            _totals=list(kept.totals),
        )

    @property
    def so_far(self) -> Mapping[str, object]:
        """What `going_on` takes, as plain values; empty before the first page."""
        if not self.n_pages or self.next_token is None:
            return {}
        kept = _SoFar(
            started_at=self.started_at,
            next_token=self.next_token,
            n_pages=self.n_pages,
            rows=list(self._rows.values()),
            tokens=sorted(self._tokens),
            totals=self._totals,
        )
        plain: Mapping[str, object] = json.loads(to_json(kept))
        return plain

    def add_page(self, body: Mapping[str, object]) -> None:
        """Add the next page.

        Raises:
            DoubtError: this page, or what it says about the others, cannot be believed.
        """
        if "instances" not in body:
            raise DoubtError("malformed: no instances in the answer")
        try:
            records = [parse_instance(row) for row in dict_rows(body["instances"])]
        except RowError as error:
            raise DoubtError(f"malformed: {error}") from error
        self._take_total(body.get("total_instances", body.get("instances_found")))
        page = {record.instance_id: record for record in records}
        again = page.keys() & self._rows.keys()
        if len(page) < len(records) or len(again) > self._n_moved:
            twice = sorted(again) or [record.instance_id for record in records]
            raise DoubtError(f"duplicate_id: {twice[0]}")
        self._rows |= page  # the newest sight of a machine counts
        self._take_token(body.get("next_token"), is_empty=not records)
        self.n_pages += 1

    def complete(self, ended_at: float) -> InstanceListing:
        """The listing, after the last page.

        Raises:
            DoubtError: fewer or more instances came than Vast counts.
        """
        fewest, most = min(self._totals) - self._n_moved, max(self._totals) + self._n_moved
        if not fewest <= len(self._rows) <= most:
            raise DoubtError(f"totals_disagree: {len(self._rows)} came of {self._totals[-1]}")
        if self._n_moved > max(MAX_MOVED, MAX_MOVED_SHARE * most):
            raise DoubtError(f"totals_disagree: from {fewest} to {most} within one listing")
        return self._listing(ended_at, "")

    @property
    def _n_moved(self) -> int:
        """How many machines came or went while we paged, as far as the totals show."""
        return sum(abs(b - a) for a, b in itertools.pairwise(self._totals))

    def incomplete(self, ended_at: float, problem: str) -> InstanceListing:
        """What came, marked as doubtful."""
        return self._listing(ended_at, problem)

    def cut_short(
        self, ended_at: float, problem: str, *, is_under_way: bool = False
    ) -> InstanceListing:
        """What came of a listing whose other pages are only late: the next call goes on."""
        cut = self._listing(ended_at, problem)
        return replace(cut, so_far=self.so_far, is_under_way=is_under_way)

    def _take_total(self, total: object) -> None:
        n = whole(total)
        if n is None:
            raise DoubtError(f"malformed: total_instances is {str(total)[:40]!r}")
        self._totals.append(n)

    def _take_token(self, token: object, *, is_empty: bool) -> None:
        if token is None or token == "":
            self.next_token = None
            return
        if not isinstance(token, str):
            raise DoubtError(f"malformed: next_token is {token!r}")
        if token in self._tokens:
            raise DoubtError("token_loop: a page token came again")
        if is_empty or len(self._tokens) >= MAX_PAGES:
            raise DoubtError("token_loop: empty pages, or too many")
        self._tokens.add(token)
        self.next_token = token

    def _listing(self, ended_at: float, problem: str) -> InstanceListing:
        return InstanceListing(
            started_at=self.started_at,
            ended_at=ended_at,
            is_complete=not problem,
            instances=tuple(self._rows[i] for i in sorted(self._rows)),
            problem=problem,
        )
