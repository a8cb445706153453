"""Listings of accounts that move while one pages, and of accounts that one call cannot page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from chalicelib.adapters.vast.client import MAX_LISTING_S, VastMarketplace
from chalicelib.adapters.vast.http import NoAnswerError, VastAnswer, VastRequest
from fakes.ports.clock import ManualClock
from tests.evidence.vast_records import load_records

PAGE = 25
ROW: dict[str, Any] = next(
    record.body["instances"][0] for record in load_records() if record.id == "list-docs"
)


@dataclass(slots=True)
class MovingAccount:
    """An account whose machines come and go each `moves_each_s`, listed by cursor or by offset."""

    n: int
    moves_each_s: float = 0.0
    latency_s: float = 0.3
    by_offset: bool = False
    clock: ManualClock = field(default_factory=ManualClock)
    fails_on_page: int = 0  # once
    n_pages: int = 0
    n_moves: int = 0
    began_at: float = 0.0
    ids: list[int] = field(default_factory=list)
    new_ids: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.began_at = self.clock.now()
        self.ids = list(range(1, self.n + 1))
        self.new_ids = count(self.n + 1)

    def move(self) -> None:
        """What happened up to now: one goes from the middle, then one comes, and so on."""
        while (
            self.moves_each_s
            and (self.n_moves + 1) * self.moves_each_s <= self.clock.now() - self.began_at
        ):
            self.n_moves += 1
            if self.n_moves % 2:
                self.ids.pop(len(self.ids) // 3)
            else:
                self.ids.append(next(self.new_ids))

    def send(self, request: VastRequest) -> VastAnswer:
        """One page."""
        self.clock.advance(self.latency_s)
        self.move()
        self.n_pages += 1
        if self.n_pages == self.fails_on_page:
            raise NoAnswerError("ReadTimeout")
        after = int(request.params.get("after_token", 0) or 0)
        left = self.ids[after:] if self.by_offset else [i for i in self.ids if i > after]
        page = left[:PAGE]
        token = (after + PAGE if self.by_offset else page[-1]) if len(left) > PAGE else None
        body = {
            "success": True,
            "instances": [{**ROW, "id": i, "label": f"w{i}"} for i in page],
            "total_instances": len(self.ids),
            "next_token": str(token) if token else None,
        }
        return VastAnswer(200, json.dumps(body))

    def marketplace(self) -> VastMarketplace:
        """The adapter over this account."""
        return VastMarketplace(
            url="https://console.vast.ai", api_key=lambda: "k", clock=self.clock, send=self.send
        )


@pytest.mark.parametrize("by_offset", [False, True], ids=["cursor", "offset"])
@pytest.mark.parametrize(
    ("n", "each_s"),
    [
        (60, 10),
        (200, 10),
        *(
            pytest.param(*case, marks=pytest.mark.long)
            for case in [(200, 60), (200, 20), (500, 20)]
        ),
    ],
)
def test_a_listing_is_believed_while_machines_come_and_go(
    n: int, each_s: float, by_offset: bool
) -> None:
    """Nine of ten at least; before, of 200 machines with a move each 10 s, none was."""
    account = MovingAccount(n, each_s, by_offset=by_offset)
    marketplace = account.marketplace()
    problems = []
    for _ in range(40):
        before = set(account.ids)
        listing = marketplace.list_instances()
        problems += [listing.problem] if listing.problem else []
        stayed = before & set(account.ids)
        missed = stayed - {record.instance_id for record in listing.instances}
        # By a cursor nothing is missed; by an offset as many as went, and a direct look finds them.
        assert len(missed) <= (account.n_moves if by_offset else 0)
        account.clock.advance(7.0)
    assert len(problems) <= 4, problems


def as_kept(so_far: Mapping[str, object]) -> dict[str, object]:
    """As the round's memory keeps it: through JSON."""
    kept: dict[str, object] = json.loads(json.dumps(so_far))
    return kept


def test_a_listing_too_long_for_one_call_goes_on_with_the_next() -> None:
    """A thousand machines at 0.6 s a page take more than a function's life allows at once."""
    account = MovingAccount(1_000, moves_each_s=30, latency_s=0.6)
    marketplace = account.marketplace()
    began_at = account.clock.now()
    first = marketplace.list_instances()
    assert not first.is_complete
    assert "the next call goes on" in first.problem
    assert account.clock.now() - began_at <= MAX_LISTING_S + 2.0
    account.clock.advance(15.0)
    second = account.marketplace().list_instances(as_kept(first.so_far))  # another process
    assert second.is_complete, second.problem
    assert second.started_at == began_at
    assert len(second.instances) >= 995
    assert account.n_pages <= 42


def test_a_page_that_does_not_come_is_asked_again_and_not_the_others() -> None:
    account = MovingAccount(200, fails_on_page=6)
    marketplace = account.marketplace()
    cut = marketplace.list_instances()
    assert "ReadTimeout" in cut.problem
    assert marketplace.list_instances(as_kept(cut.so_far)).is_complete
    assert account.n_pages == 9


def test_what_was_cut_short_long_ago_begins_anew() -> None:
    account = MovingAccount(200, fails_on_page=6)
    marketplace = account.marketplace()
    cut = marketplace.list_instances()
    account.clock.advance(600.0)
    now = account.clock.now()
    assert marketplace.list_instances(cut.so_far).started_at == now
    assert account.n_pages == 6 + 8


def test_a_first_page_that_does_not_come_leaves_nothing_to_go_on_with() -> None:
    account = MovingAccount(30, fails_on_page=1)
    marketplace = account.marketplace()
    assert not marketplace.list_instances().so_far
    now = account.clock.now()
    assert marketplace.list_instances({}).started_at == now


@pytest.mark.parametrize(
    "so_far",
    [{"started_at": "x"}, {"rows": 3}, {"started_at": 1.0, "next_token": "t", "n_pages": 2}],
)
def test_what_cannot_be_gone_on_from_begins_anew(so_far: dict[str, object]) -> None:
    account = MovingAccount(30)
    assert account.marketplace().list_instances(so_far).is_complete


@pytest.mark.parametrize("totals", [(30, 30), (30, 300), (0, 30), (60, 30)])
def test_a_total_that_lies_is_no_movement(totals: tuple[int, int]) -> None:
    """Fifty rows came; a total that stands still, or leaps, explains nothing."""
    account = MovingAccount(50)

    def send(request: VastRequest) -> VastAnswer:
        answer = account.send(request)
        body = json.loads(answer.text)
        body["total_instances"] = totals[account.n_pages - 1]
        return VastAnswer(200, json.dumps(body))

    marketplace = VastMarketplace(
        url="https://console.vast.ai", api_key=lambda: "k", clock=account.clock, send=send
    )
    listing = marketplace.list_instances()
    assert not listing.is_complete
    assert "totals_disagree" in listing.problem
