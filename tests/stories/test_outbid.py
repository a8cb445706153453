"""Bad days of a group on interruptible machines: who serves, the bill, what is told."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import pytest

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.endpoint_group import Interruptible
from chalicelib.core.model.worker import WorkerState
from chalicelib.ports.marketplace import MarketplaceUnavailableError, RefusedError
from chalicelib.services.owner.views.spending import read_spend
from tests.stories.bidding import HOT, at_bids, bidding_day, floors, rows
from tests.stories.day import HOUR, OWNER, Day

PAUSED, READY = WorkerState.PAUSED, WorkerState.READY


def served(day: Day) -> float:
    return sum(row.perf for row in rows(day) if row.state is READY)


def usd_per_hour(day: Day) -> float:
    return day.world.market.bill(day.world.now).usd_per_hour


def reasons(day: Day, since: float = 0.0) -> list[str]:
    """Why something was done, in its order, as `explain` tells it."""
    return [
        str(event.facts["reason"]["code"])  # type: ignore[index]  # a decision's facts have it
        for event in day.events()
        if event.kind == "decision" and event.at >= since
    ]


def spent_at_bids(day: Day) -> Mapping[str, object]:
    """`ballast spend`."""
    spent = read_spend(day.world.owner_ports, OWNER, None, 2)["interruptible"]
    assert isinstance(spent, Mapping)
    return spent


def test_outbid_in_a_burst() -> None:
    day, group = bidding_day()
    calm, began = usd_per_hour(day), day.world.now
    day.seconds(10, 20, of=group)
    n_bound = len(at_bids(day, READY))
    floors(day, math.inf)
    day.seconds(60, 6, of=group)
    assert served(day) >= HOT, "who stands in is up within a minute"
    day.seconds(30)
    assert day.world.n_waiting == 0, "and nobody was forgotten"
    assert n_bound == 3
    assert not at_bids(day, READY)
    assert reasons(day, began).count("hot_short") >= 3
    assert usd_per_hour(day) < 2.2 * calm, (
        "on demand costs twice; those that were taken, their disk"
    )
    floors(day, 1.0)
    day.minutes(30)
    assert len(at_bids(day, READY)) >= 2, "what proved restless must be worth it again"
    assert usd_per_hour(day) < 1.25 * calm
    assert day.troubles() == {}
    assert spent_at_bids(day)["n_taken"] == 3
    assert day.told("notified") == [], "a burst that was served is no news"
    day.ends()


def test_all_hosts_of_a_type_at_once() -> None:
    """One GPU type everywhere: nothing at a bid is left; all but one come back by themselves."""
    day, _ = bidding_day()
    before, n_creates = day.bill(), day.calls(Verb.CREATE)
    held = {row.instance_id for row in rows(day) if row.is_bid}
    floors(day, math.inf)
    day.seconds(60)
    assert served(day) >= HOT
    assert {row.instance_id for row in at_bids(day, PAUSED)} <= held
    gpu_s = {key: day.world.market.bill(day.world.now).by_instance[key].gpu_usd for key in held}
    day.minutes(10)
    now = day.world.market.bill(day.world.now).by_instance
    assert {key: now[key].gpu_usd for key in held} == gpu_s, "taken is not billed but for its disk"
    floors(day, 1.0)
    day.minutes(15)
    assert len(at_bids(day, READY)) == 3
    assert day.calls(Verb.CREATE) <= n_creates + 4
    assert day.bill() - before < 27 / 60 * 1.7, "three on demand and all the disks, all the time"
    assert day.troubles() == {}
    day.ends()


@pytest.mark.long
def test_bids_that_rise_through_a_day() -> None:
    """Up to 2.2 times the usual bid: followed while it saves, then served on demand."""
    day, _ = bidding_day()
    steps = 24
    for step in range(steps):
        floors(day, 1.0 + 1.2 * step / (steps - 1))
        day.minutes(30)
        assert served(day) >= HOT * 0.9
        running = [row for row in rows(day) if row.is_bid and row.state.is_answering]
        assert all(row.usd_per_hour < row.on_demand_usd_per_hour for row in running)
    assert not at_bids(day, READY)
    assert {"bid_raised", "hot_short"} <= set(reasons(day))
    spent = spent_at_bids(day)
    assert float(str(spent["saved_usd"])) > 0
    assert day.bill() < (steps / 2 + 0.7) * 1.7, "never more than three on demand"
    assert day.troubles() == {}
    day.ends()


@pytest.mark.long
def test_paused_for_a_day() -> None:
    """Whoever is outbid goes once its disk has cost a load; the group is served on demand."""
    day, _ = bidding_day()
    hours = 24
    taken = at_bids(day, READY)
    floors(day, math.inf)
    day.minutes(3)
    disks = {row.instance_id: row.storage_usd_per_hour for row in at_bids(day, PAUSED)}
    assert {row.instance_id for row in taken} <= set(disks)
    day.minutes(hours * HOUR)
    assert not set(disks) & set(day.world.market.instances), "none is kept for a day"
    assert reasons(day).count("outbid_long") >= len(taken)
    n_creates = day.calls(Verb.CREATE)
    day.minutes(HOUR)
    assert day.calls(Verb.CREATE) == n_creates, "and it has come to rest"
    assert served(day) >= HOT
    assert day.bill() < (hours + 1.8) * 1.7
    assert day.troubles() == {}
    day.ends()


def test_credit_ends_while_paused() -> None:
    day, group = bidding_day()
    day.world.market.switch_on("outbid", day.world.now)
    day.minutes(3)
    assert at_bids(day, PAUSED)
    day.world.market.switch_on("credit-zero", day.world.now)
    day.minutes(20)
    assert "no_credit" in day.troubles()
    assert day.running() == 0, "Vast has stopped all of them"
    calls = day.calls(Verb.CREATE), day.calls(Verb.BID)
    before, disks = day.bill(), day.stored_usd
    day.minutes(20)
    assert (day.calls(Verb.CREATE), day.calls(Verb.BID)) == calls, "no money, no orders"
    assert day.bill() - before == pytest.approx(day.stored_usd - disks, rel=0.1)
    day.world.market.switch_off("credit-zero", day.world.now)
    day.world.market.switch_off("outbid", day.world.now)
    day.world.ask(group.endpoint_id, 3)
    day.minutes(20)
    assert day.world.n_waiting == 0
    assert served(day) >= HOT * 0.9
    assert {row.instance_id for row in rows(day)} == set(day.world.market.instances)
    assert day.told("no_credit") == ["no_credit", "no_credit_over"]
    assert day.troubles() == {}
    day.ends()


def test_a_refused_raise_rests_longer_each_time_and_is_told_once() -> None:
    day, _ = bidding_day()
    refusal = RefusedError("invalid_args", "bid refused")
    day.world.marketplace.fail_next(Verb.BID, refusal, times=1_000)
    floors(day, 1.2)  # what a raise would outbid
    day.minutes(60)
    asked, told = Counter[object](), Counter[object]()
    for event in day.events():
        asked[event.facts.get("instance_id")] += "Bidding more" in event.message
        told[event.facts.get("subject")] += event.message.startswith("ChangeBid")
    refused = [instance_id for instance_id, n in asked.items() if n > 0]
    assert len(refused) >= 3
    assert all(asked[one] <= 5 for one in refused), "after 2, 4, 8 … minutes, not each minute"
    assert all(told[one] == 1 for one in refused)
    assert served(day) >= HOT
    day.ends()


def test_a_raise_whose_start_failed_is_started_soon() -> None:
    """A raised bid alone brings no machine back (tests/evidence/vast/bid.json)."""
    day, _ = bidding_day()
    floors(day, 1.2)
    day.minutes(5)
    assert "bid_raised" not in reasons(day)
    day.world.marketplace.fail_next(Verb.START, MarketplaceUnavailableError("503"))
    day.minutes(1)
    assert "bid_raised" in reasons(day)
    (failed,) = [row for row in at_bids(day, PAUSED) if row.bid_margin > 1.2]
    assert failed.n_start_refusals == 1
    day.minutes(10)
    assert "bid_started" in reasons(day)
    (back,) = [row for row in rows(day) if row.instance_id == failed.instance_id]
    assert back.bid_margin == failed.bid_margin
    assert back.n_start_refusals == 0, "it has served since"
    assert back.state is not PAUSED
    day.ends()


def test_at_a_cap_what_is_outbid_gives_way_to_what_can_serve() -> None:
    """It counts as if it ran: the machines that were taken left no dollar for others to start."""
    day = Day(seed=5, cap_usd_per_hour=1.5)
    day.group(max_workers=12, min_load=HOT, interruptible=Interruptible.MIXED)
    day.seconds(60)
    day.minutes(30)
    floors(day, 1.2)
    day.minutes(10)
    assert served(day) >= HOT
    assert "bid_makes_room" in reasons(day)
    assert day.world.market.bill(day.world.now).peak_usd_per_hour <= 1.5
    n_creates = day.calls(Verb.CREATE)
    day.minutes(6)
    assert day.calls(Verb.CREATE) == n_creates, "and it has come to rest"
    day.ends()


@pytest.mark.parametrize(
    "comes_back", ["all come back", pytest.param("none comes back", marks=pytest.mark.long)]
)
def test_all_hang_at_once_and_vast_lists_them_as_running(comes_back: str) -> None:
    """Nothing tells the loss but their silence: what is held starts once requests are late."""
    day, group = bidding_day()
    hung = {row.instance_id for row in at_bids(day, READY)}
    before = day.bill(), day.calls(Verb.CREATE)
    for one in hung:
        day.world.processes[one].is_silent = day.world.processes[one].is_deaf = True
    day.seconds(130, 1, of=group)
    assert day.world.n_waiting == 0
    assert day.world.clients.longest_wait_s <= 110, "silent for a minute, a start, the queue"
    assert "requests_wait" not in day.troubles()
    is_back = comes_back == "all come back"
    for one in hung if is_back else ():
        day.world.processes[one].is_silent = day.world.processes[one].is_deaf = False
    day.minutes(12, 3, of=group)
    assert hung & set(day.world.market.instances) == (hung if is_back else set())
    assert day.calls(Verb.CREATE) <= before[1] + (0 if is_back else len(hung))
    assert served(day) == pytest.approx(HOT, rel=0.05), "three serve, and no more"
    assert day.bill() - before[0] < 15 / 60 * 1.7
    assert day.world.n_waiting == 0
    assert day.troubles() == {}
    day.ends()


@pytest.mark.parametrize(
    ("shown", "rise", "is_back_soon"),
    [(1.0, 2.0, True), pytest.param(0.5, 1.0, False, marks=pytest.mark.long)],
)
def test_bids_that_never_win_rest_longer_each_time_and_are_told_once(
    shown: float, rise: float, is_back_soon: bool
) -> None:
    """`min_bid` doubles before each create, or is half of what keeps a machine until it loads.

    Machines that were really taken, each within minutes, are remembered for longer than an hour.
    """
    day = Day(seed=3)
    bids = day.world.market.offers.bids
    bids.shown, bids.rise = shown, rise
    group = day.group(max_workers=12, min_load=HOT, interruptible=Interruptible.MIXED)
    day.seconds(60)
    day.minutes(30, 2, of=group)  # two raises each, where a raise does not win
    assert served(day) >= HOT, "on demand"
    tried = day.calls(Verb.CREATE), day.calls(Verb.BID)
    day.minutes(15, 2, of=group)
    assert day.calls(Verb.CREATE) <= tried[0] + 4, "what looks for better machines on demand, too"
    assert day.calls(Verb.BID) == tried[1]
    assert day.world.n_waiting == 0
    assert list(day.troubles()) == ["bids_refused"]
    bids.shown = bids.rise = 1.0
    day.minutes(60, 2, of=group)
    assert bool(at_bids(day, READY)) is is_back_soon, "tried again, and used"
    over = ["bids_refused_over"] if is_back_soon else []
    assert day.told("bids_refused") == ["bids_refused", *over]
    day.ends()
