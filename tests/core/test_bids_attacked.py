"""What Vast may show of interruptible machines, and when: words, addresses, prices, moments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from chalicelib.core.fleet.observation import observe
from chalicelib.core.model.lifecycle import WorkerEvent, transition
from chalicelib.core.model.market import InstanceRecord, at_kept_bid
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.actions import DestroyWorker, DrainWorker, RentOffer
from chalicelib.core.scaling.decision import decide_scaling
from chalicelib.core.scaling.learning import Beliefs
from chalicelib.core.scaling.memory import ScalingMemory
from chalicelib.core.scaling.moves.interruptible import (
    candidates_of,
    paused_limit_s,
    plan_bid_returns,
    plan_raises,
)
from chalicelib.core.scaling.snapshot import Caps, GroupSnapshot, Waiting, WorkerFacts
from chalicelib.wire.vast import bid_price
from tests.core.bid_scenes import DOWN, NOW, UP, facts, on_demand
from tests.core.test_interruptible import (
    AUTOGROUP,
    bid_offer,
    group,
    known_memory,
    record,
    scene,
    state_after,
    worker,
)


@pytest.mark.parametrize("word", ["outbid", "preempted", "paused", "interrupted", "inactive"])
@pytest.mark.parametrize("intended", ["running", "paused", ""])
def test_a_silent_machine_with_an_unknown_word_was_outbid(word: str, intended: str) -> None:
    seen = replace(record("running", word), intended_status=intended)
    assert state_after(worker(WorkerState.SUSPECT), seen) is DOWN
    heard = worker(reported_at=NOW - 5)
    assert state_after(heard, seen) is UP, "while it reports, a word takes nothing away"


def addressed(seen: InstanceRecord, port: int) -> InstanceRecord:
    return replace(seen, public_ipaddr="8.8.8.8", ports={"3000/tcp": port})


def test_who_comes_back_is_reached_at_its_new_address_only() -> None:
    row = worker(url="http://8.8.8.8:40000", worker_port=3000)
    lost = observe(row, addressed(record("stopped", "exited"), 40000), listed_at=NOW - 1, now=NOW)
    assert (lost.changes["state"], lost.changes["url"]) == (DOWN, "")
    row = replace(row, state=DOWN, state_since=NOW, url="")
    for intended, actual in (("stopped", "exited"), ("running", "exited"), ("running", "loading")):
        seen = addressed(record(intended, actual), 40000)
        changes = observe(row, seen, listed_at=NOW + 59, now=NOW + 60).changes
        assert "url" not in changes, "an old port may be somebody else's"
    up = replace(row, state=WorkerState.STARTING, state_since=NOW + 60)
    seen = addressed(record("running", "running"), 41000)
    changes = observe(up, seen, listed_at=NOW + 89, now=NOW + 90).changes
    assert str(changes["url"]).endswith("8.8.8.8:41000")


def test_a_bid_for_several_gpus_is_not_raised() -> None:
    """Whether Vast takes a changed bid per GPU or per machine is not known."""
    lost = facts(9, DOWN, state_since=NOW - 600, bid_margin=1.0, gpu_type="4x RTX 4090")
    pool, ctx = scene([on_demand(1), lost], [], known_memory())
    assert plan_raises(pool, ctx) == []
    pool, ctx = scene([on_demand(1), replace(lost, gpu_type="1x RTX 4090")], [], known_memory())
    assert len(plan_raises(pool, ctx)) == 1


def test_who_is_outbid_while_it_drains_is_drained_no_more() -> None:
    """Its plan is of before: when it is back, it is one machine more, and planned for anew."""
    row = worker(WorkerState.DRAINING, after_drain="destroy", drain_by=NOW + 900)
    changes = transition(row, WorkerEvent.OUTBID, NOW)
    assert (changes["state"], changes["after_drain"], changes["drain_by"]) == (DOWN, None, None)


def test_who_is_outbid_while_it_loads_loads_again() -> None:
    row = worker(WorkerState.LOADING, loaded_at=0.0)
    row = replace(row, **transition(row, WorkerEvent.OUTBID, NOW))  # type: ignore[arg-type]
    assert row.state is DOWN
    assert state_after(row, record("running", "loading"), NOW + 60) is WorkerState.MODEL_LOADING


@pytest.mark.parametrize("least", [1e-9, 0.0004, 0.001, 0.3, 31.0, 32.0, 90.0, 128.0, 128.01, 500])
def test_each_bid_is_one_that_vast_takes_and_is_booked_as_it_is_billed(least: float) -> None:
    """Between 0.001 and 128 dollars an hour, in whole thousandths (tests/evidence/vast)."""
    dear = [on_demand(n, usd_per_hour=1e5) for n in range(1, 7)]
    offer = replace(bid_offer(1, usd=least), on_demand_usd_per_hour=999.0)
    pool, ctx = scene(dear, [offer], known_memory())
    found = candidates_of(pool, ctx)
    assert bool(found) is (least <= 128.0)
    for candidate in found:
        kept = at_kept_bid(candidate.item.offer)
        assert kept.bid_usd_per_hour == bid_price(candidate.item.offer.bid_usd_per_hour, 128.0)
        assert kept.bid_usd_per_hour == bid_price(kept.bid_usd_per_hour, 128.0)
        assert 0.001 <= kept.bid_usd_per_hour <= 128.0
        extra = kept.usd_per_hour - kept.bid_usd_per_hour
        assert extra == pytest.approx(kept.storage_usd_per_hour)


@pytest.mark.parametrize(("bid", "is_raised"), [(25.6, True), (25.61, False), (0.001, True)])
def test_no_bid_is_raised_beyond_what_vast_takes(bid: float, is_raised: bool) -> None:
    """25.6 dollars and a quarter more are 32, the most."""
    dear = [on_demand(n, usd_per_hour=1e5) for n in range(1, 4)]
    lost = facts(9, DOWN, state_since=NOW - 600, bid_usd_per_hour=bid, usd_per_hour=bid + 0.01)
    pool, ctx = scene([*dear, lost], [], known_memory())
    raised = plan_raises(pool, ctx)
    assert bool(raised) is is_raised
    assert all(0.001 <= bid_price(a.bid_usd_per_hour) <= 32.0 for a in raised)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("storage", "usd", "most_s"),
    [
        (0.3, 0.31, 310.0),  # the disk costs as much as the GPU and it
        (0.5, 0.31, 200.0),  # or more
        (9.0, 0.31, 11.0),
        (0.0, 0.31, 48 * 3600.0),  # nothing, or nobody knows: not for ever
    ],
)
def test_a_disk_that_costs_more_than_running_is_not_kept(
    storage: float, usd: float, most_s: float
) -> None:
    lost = facts(9, DOWN, usd_per_hour=usd, storage_usd_per_hour=storage)
    pool, ctx = scene([on_demand(1), lost], [], known_memory())
    assert 0 < paused_limit_s(lost, ctx) <= most_s
    lost = replace(lost, state_since=NOW - most_s - 1.0)
    pool, ctx = scene([on_demand(1), lost], [], known_memory())
    (action,) = plan_bid_returns(pool, ctx, is_room_needed=False)
    assert action.reason.code == "outbid_long"


@pytest.mark.parametrize("held", ["none", "let", "stopped"])
@pytest.mark.parametrize("has_offers", [True, False])
def test_who_takes_no_interruptible_machine_gets_one_rented_where_none_can_serve(
    held: str, has_offers: bool
) -> None:
    """Without an offer on demand that is told, and nothing at a bid is rented in its place."""
    own = replace(bid_offer(50), is_bid=False, bid_usd_per_hour=0.0, usd_per_hour=0.6)
    states = {"let": WorkerState.UNAVAILABLE, "stopped": WorkerState.STOPPED}
    kept = [on_demand(20, states[held], state_since=NOW - 30)] if held in states else []
    calm = GroupSnapshot(
        group=group(min_load=100.0),
        autogroups=(AUTOGROUP,),
        workers=(*(facts(n) for n in range(1, 4)), *kept),
        waiting=Waiting(n=1, load=10.0),
        offers={1: (bid_offer(1), bid_offer(2, "US"), *([own] if has_offers else []))},
    )
    insisting = replace(calm, waiting=Waiting(n=1, load=10.0, on_demand_load=10.0))
    before, plan = (
        decide_scaling(snapshot, known_memory(share=0.0).to_json(), NOW)
        for snapshot in (calm, insisting)
    )
    n_before, n_rented = (
        sum(isinstance(a, RentOffer) and not a.offer.is_bid for a in one.actions)
        for one in (before, plan)
    )
    assert n_before == (1 if held == "none" and has_offers else 0), "one is always held"
    assert n_rented == (1 if held != "stopped" and has_offers else 0)
    if held != "stopped" and not has_offers:
        assert plan.wants_offers == {1}
        assert "no_offers" in [str(note.code) for note in plan.notes]


@pytest.mark.parametrize("load", [0.0, 10.0])
def test_who_was_started_for_them_is_not_drained_before_they_come(load: float) -> None:
    """It is surplus beside those at bids, and the only one that such requests take."""
    snapshot = GroupSnapshot(
        group=group(min_load=100.0),
        autogroups=(AUTOGROUP,),
        workers=(*(facts(n) for n in range(1, 4)), on_demand(20)),
        waiting=Waiting(n=1 if load else 0, load=load, on_demand_load=load),
    )
    plan = decide_scaling(snapshot, known_memory(share=0.0).to_json(), NOW)
    drained = {a.instance_id for a in plan.actions if isinstance(a, DrainWorker)}
    assert (20 in drained) is (load == 0.0)


def test_a_load_that_was_outbid_is_given_its_whole_time_once_it_is_back() -> None:
    """It was returned the moment that it came back: its time had run while it was outbid."""
    first = facts(1, WorkerState.LOADING, loaded_at=0.0, perf=0.0, created_at=NOW, state_since=NOW)
    fleet = [on_demand(9), on_demand(8)]
    memory: Mapping[str, object] = known_memory().to_json()
    back_at = NOW + 7_200
    rounds = [
        (NOW + 60, first),
        (NOW + 120, replace(first, state=DOWN, state_since=NOW + 100)),
        (back_at - 60, replace(first, state=DOWN, state_since=NOW + 100)),
        (back_at, replace(first, state_since=back_at)),
        (back_at + 600, replace(first, state_since=back_at)),
        (back_at + 620, replace(first, state=WorkerState.MODEL_LOADING, state_since=back_at + 610)),
        (back_at + 4_000, replace(first, state_since=back_at)),
    ]
    stuck = []
    for now, row in rounds:
        _, ctx = scene([*fleet, row], [], known_memory(), min_load=100.0)
        plan = decide_scaling(ctx.snapshot, memory, now)
        memory = plan.memory
        stuck += [now for a in plan.actions if a.reason.code == "stuck_loading"]
    assert stuck == [back_at + 4_000]


def test_the_time_for_which_a_load_was_outbid_is_not_learned_as_a_load() -> None:
    memory: Mapping[str, object] = known_memory().to_json()
    first = facts(1, WorkerState.LOADING, loaded_at=0.0, perf=0.0, created_at=NOW, state_since=NOW)
    for now, row in (
        (NOW + 60, first),
        (NOW + 120, replace(first, state=DOWN, state_since=NOW + 100)),
        (NOW + 9_000, replace(first, state_since=NOW + 8_990)),
        (NOW + 9_300, replace(first, state=UP, loaded_at=NOW + 9_290, perf=100.0)),
    ):
        _, ctx = scene([on_demand(9), row], [], known_memory())
        memory = decide_scaling(ctx.snapshot, memory, now).memory
    learned = Beliefs(ScalingMemory.from_json(memory)).memory.load_times["1"]
    assert learned[0] == 1.0
    assert learned[1] == pytest.approx(5.7, abs=0.1)  # the logarithm of 300 s


@pytest.mark.parametrize(
    ("free_usd", "why_not", "others", "gone"),
    [
        (0.7, "", [], []),  # a start fits
        (0.1, "", [], [1]),
        (0.1, "cap_hour", [], [1]),
        (
            0.1,
            "",
            [facts(7, WorkerState.LOADING, state_since=NOW, created_at=NOW)],
            [],
        ),  # one comes
        (0.1, "", [facts(7, WorkerState.DESTROYING, state_since=NOW - 30)], []),  # one goes already
        (0.1, "", [facts(7, WorkerState.DESTROYING, state_since=NOW - 3_000)], [1]),
        (0.1, "", [on_demand(7), on_demand(6)], []),  # nothing is short
        (0.1, "frozen", [], []),
        (0.1, "inventory_unknown", [], []),
    ],
)
def test_what_is_outbid_gives_back_the_dollars_that_who_serves_needs(
    free_usd: float, why_not: str, others: list[WorkerFacts], gone: list[int]
) -> None:
    """A cap counts it as if it ran: five of them held a group at rest that could have served."""
    away = [facts(n, DOWN, state_since=NOW - 60) for n in (1, 2)]
    fleet = [*away, on_demand(9), on_demand(8, WorkerState.STOPPED), *others]
    _, ctx = scene(fleet, [], known_memory(), min_load=200.0)
    caps = Caps(
        free_usd_per_hour=free_usd, bound_by="cap_hour", why_not=why_not, may_rent=not why_not
    )
    plan = decide_scaling(replace(ctx.snapshot, caps=caps), known_memory().to_json(), NOW)
    returned = [action for action in plan.actions if isinstance(action, DestroyWorker)]
    assert gone == [one.instance_id for one in returned if one.reason.code == "bid_makes_room"]
