"""Pages of Vast's v1 listing → one listing that says whether it can be believed.

Every kind of doubt ends in `is_complete=False` with its name, never in a shorter list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chalicelib.adapters.vast.rows import RowError, dict_rows, parse_instance
from chalicelib.core.model.market import InstanceListing, InstanceRecord

MAX_PAGES = 1_000


class DoubtError(Exception):
    """The listing cannot be believed; the message names why."""


@dataclass(slots=True)
class ListingBuilder:
    """Takes pages in order; `next_token` is None once the last one came."""

    started_at: float
    next_token: str | None = None
    _rows: dict[int, InstanceRecord] = field(default_factory=dict)
    _tokens: set[str] = field(default_factory=set)
    _total: int | None = None

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
        for record in records:
            if record.instance_id in self._rows:
                raise DoubtError(f"duplicate_id: {record.instance_id}")
            self._rows[record.instance_id] = record
        self._take_total(body.get("total_instances", body.get("instances_found")))
        self._take_token(body.get("next_token"), is_empty=not records)

    def complete(self, ended_at: float) -> InstanceListing:
        """The listing, after the last page.

        Raises:
            DoubtError: fewer or more instances came than Vast counts.
        """
        if self._total != len(self._rows):
            raise DoubtError(f"totals_disagree: {len(self._rows)} came of {self._total}")
        return self._listing(ended_at, "")

    def incomplete(self, ended_at: float, problem: str) -> InstanceListing:
        """What came, marked as doubtful."""
        return self._listing(ended_at, problem)

    def _take_total(self, total: object) -> None:
        if not isinstance(total, int) or isinstance(total, bool) or total < 0:
            raise DoubtError(f"malformed: total_instances is {total!r}")
        if self._total is not None and total != self._total:
            raise DoubtError(f"totals_disagree: {self._total}, then {total}")
        self._total = total

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
