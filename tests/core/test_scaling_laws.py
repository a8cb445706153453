"""Laws of the scaling decision, for any fleet and demand that Hypothesis can think of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.actions import DestroyWorker, DrainWorker, RecallWorker, RentOffer
from chalicelib.core.scaling.decision import decide_scaling
from chalicelib.core.scaling.moves.deeds import remember_deeds
from chalicelib.core.scaling.occupancy import is_idle
from chalicelib.core.scaling.snapshot import GroupSnapshot
from tests.core.scaling_scenes import NOW, apply_plan, remembered_snapshots, snapshots

ROOT = Path(__file__).parents[2]
T = TypeVar("T")
Remembered = tuple[GroupSnapshot, dict[str, object]]


@settings(max_examples=50)
@given(remembered_snapshots())
def test_no_finite_input_raises_and_the_plan_is_plain_finite_json(group: Remembered) -> None:
    snapshot, memory = group
    plan = decide_scaling(snapshot, memory, NOW)
    again = decide_scaling(snapshot, plan.memory, NOW + 5)
    for values in (plan, again):
        plain = [dict(values.memory), dict(values.figures)]
        assert json.loads(json.dumps(plain, allow_nan=False)) is not None


@settings(max_examples=50)
@given(snapshots())
def test_planned_machines_stay_within_every_cap(snapshot: GroupSnapshot) -> None:
    rentals = [a for a in decide_scaling(snapshot, {}, NOW).actions if isinstance(a, RentOffer)]
    held = len(snapshot.workers) + len(snapshot.rentals)
    caps = snapshot.caps
    if rentals:
        assert held + len(rentals) <= snapshot.group.params.max_workers
        assert caps.may_rent
        assert snapshot.inventory_is_known
        assert not snapshot.group.frozen
    assert len(rentals) <= caps.free_workers
    assert sum(a.offer.usd_per_hour for a in rentals) <= caps.free_usd_per_hour + 1e-9


@settings(max_examples=50)
@given(snapshots())
def test_nothing_is_destroyed_in_doubt_or_while_frozen(snapshot: GroupSnapshot) -> None:
    plan = decide_scaling(snapshot, {}, NOW)
    ended = [a for a in plan.actions if isinstance(a, DestroyWorker)]
    if not snapshot.inventory_is_known:
        assert not ended
    elif snapshot.group.frozen:  # what the owner deletes goes all the same
        ordered = {"group_deleted", "deleted", "autogroup_gone", "drained", "drain_deadline"}
        assert {a.reason.code for a in ended} <= ordered


@settings(max_examples=50)
@given(snapshots())
def test_each_worker_gets_at_most_one_action(snapshot: GroupSnapshot) -> None:
    ids = [
        a.instance_id
        for a in decide_scaling(snapshot, {}, NOW).actions
        if not isinstance(a, RentOffer)
    ]
    assert len(ids) == len(set(ids))


@settings(max_examples=50)
@given(snapshots(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(snapshot: GroupSnapshot, rng: Random) -> None:
    def shuffled(items: tuple[T, ...]) -> tuple[T, ...]:
        return tuple(rng.sample(items, len(items)))

    other = replace(
        snapshot,
        workers=shuffled(snapshot.workers),
        autogroups=shuffled(snapshot.autogroups),
        rentals=shuffled(snapshot.rentals),
        offers={key: shuffled(snapshot.offers[key]) for key in reversed(list(snapshot.offers))},
    )
    assert decide_scaling(other, {}, NOW) == decide_scaling(snapshot, {}, NOW)


@settings(max_examples=50)
@given(remembered_snapshots(), st.integers(1, 300))
def test_more_load_never_wants_less(group: Remembered, extra: int) -> None:
    snapshot, memory = group
    waiting = snapshot.waiting
    size = waiting.load / waiting.n if waiting.n else 100.0
    more = replace(waiting, n=waiting.n + extra, load=waiting.load + extra * size)
    plan = decide_scaling(snapshot, memory, NOW)
    assert decide_scaling(replace(snapshot, waiting=more), memory, NOW).hot_target >= (
        plan.hot_target * (1 - 1e-9)
    )


@settings(max_examples=50)
@given(snapshots())
def test_no_worker_with_work_is_drained_while_an_idle_one_would_do(snapshot: GroupSnapshot) -> None:
    plan = decide_scaling(snapshot, {}, NOW)
    by_id = {worker.instance_id: worker for worker in snapshot.workers}
    surplus = [
        by_id[action.instance_id]
        for action in plan.actions
        if isinstance(action, DrainWorker) and action.reason.code == "idle_surplus"
    ]
    touched = {a.instance_id for a in plan.actions if not isinstance(a, RentOffer)}
    for busy in (worker for worker in surplus if not is_idle(worker)):
        for worker in snapshot.workers:
            would_do = (
                worker.state is WorkerState.READY
                and worker.autogroup_id == busy.autogroup_id
                and worker.instance_id not in touched
                and is_idle(worker)
                and 0 < worker.perf <= busy.perf
            )
            assert not would_do


@settings(max_examples=50)
@given(remembered_snapshots())
def test_deciding_again_after_applying_adds_nothing(group: Remembered) -> None:
    snapshot, memory = group
    plan = decide_scaling(snapshot, memory, NOW)
    quiet = replace(snapshot.traffic, elapsed_s=0.0, arrived_load=0.0, n_arrived=0, n_started=0)
    after = replace(apply_plan(snapshot, plan), traffic=quiet)
    remembered = remember_deeds(plan.memory, plan.actions, NOW)
    rented = [action.offer.usd_per_hour for action in plan.actions if isinstance(action, RentOffer)]
    has_left = any(isinstance(action, DestroyWorker) for action in plan.actions)
    again = [
        action
        for action in decide_scaling(after, remembered, NOW).actions
        # What was too dear beside the first round's offers may be the best of those that are left.
        if not (
            isinstance(action, RentOffer) and rented and action.offer.usd_per_hour > max(rented)
        )
        # Below `max_workers` once more, who drains for it is recalled.
        and not (isinstance(action, RecallWorker) and has_left)
    ]
    assert again == []


REPLAY = """
import json, sys
from chalicelib.core.scaling.decision import decide_scaling
from tests.core.scaling_scenes import NOW, fixed_snapshot
plan = decide_scaling(fixed_snapshot(), {}, NOW)
print(repr(plan.actions), json.dumps(plan.memory), sorted(plan.wants_offers), repr(plan.notes))
"""


def test_a_snapshot_replays_to_the_byte_in_a_fresh_process_with_another_hash_seed() -> None:
    outputs = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        run = subprocess.run(
            [sys.executable, "-c", REPLAY],
            env=environment,
            capture_output=True,
            check=True,
            cwd=ROOT,
        )
        outputs.append(run.stdout)
    assert outputs[0] == outputs[1]
    assert b"StartWorker" in outputs[0]
