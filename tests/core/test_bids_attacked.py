"""What Vast may show of interruptible machines, and when: words, addresses, prices, moments."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.fleet.observation import observe
from chalicelib.core.model.lifecycle import WorkerEvent, transition
from chalicelib.core.model.market import InstanceRecord
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.moves.interruptible import plan_raises
from tests.core.bid_scenes import DOWN, NOW, UP, facts, on_demand
from tests.core.test_interruptible import known_memory, record, scene, state_after, worker


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
