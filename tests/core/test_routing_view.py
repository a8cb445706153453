"""The routing view: what is in it, and that it survives packing."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.model.autogroup import Autogroup, AutogroupState, TicketGeneration
from chalicelib.core.model.endpoint_group import (
    EndpointGroup,
    GroupState,
    QueueOrder,
    ScalingParams,
)
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.routing.admission import AdmissionParams, Queued, may_start
from chalicelib.core.routing.directory import (
    group_facts,
    pack_directory,
    unpack_directory,
)
from chalicelib.core.routing.packed_view import PackedViewError, pack_view, unpack_view
from chalicelib.core.routing.table import AutogroupFacts
from chalicelib.core.routing.view import (
    LOADING_S,
    SHARD_SIZE,
    RoutingView,
    build_view,
    rebuild_interval_s,
)
from fakes.bundles.hot_ports import make_group, make_worker

NOW = 1_800_000_000.0


def build(*rows: Worker, waiting: tuple[Queued, ...] = (), now: float = NOW) -> RoutingView:
    (view,) = build_view(make_group(), rows, waiting, now)
    return view


def columns(view: RoutingView) -> list[dict[str, object]]:
    names = type(view.workers[0]).__slots__ if view.workers else ()
    return [{name: getattr(w, name) for name in names} for w in view.workers]


def test_ready_workers_are_in_it_with_the_work_they_have() -> None:
    view = build(
        make_worker(
            1,
            NOW,
            working_load=250.0,
            n_working=2,
            granted_load=900.0,
            granted_marks=((NOW, 900.0),),
        )
    )
    (worker,) = view.workers
    assert worker.free_at == NOW + 2.5
    assert (worker.granted_load, worker.perf, worker.generation) == (900, 100, "C")


@pytest.mark.parametrize(
    "values",
    [
        *({"state": state} for state in WorkerState if state is not WorkerState.READY),
        {"perf": 0.0},
        {"url": ""},
        {"autogroup_id": 999},
        {"ticket": TicketGeneration.D, "boot_id": ""},
    ],
)
def test_whoever_cannot_serve_is_not_in_it(values: dict[str, object]) -> None:
    view = build(make_worker(1, NOW, **values), make_worker(2, NOW))
    assert [w.instance_id for w in view.workers] == [2]
    assert sum(view.n_by_state.values()) == 2


def test_a_silent_worker_is_left_out_before_anybody_writes_it_down() -> None:
    view = build(*(make_worker(i, NOW - (30 if i == 1 else 0), started_at=0) for i in range(1, 4)))
    assert [w.instance_id for w in view.workers] == [2, 3]


def test_an_autogroups_override_beats_what_its_workers_report() -> None:
    group = make_group(autogroups=(AutogroupFacts(autogroup_id=70, generation="A"),))
    (view,) = build_view(group, [make_worker(1, NOW)], [], NOW)
    assert view.workers[0].generation == "A"


def slotted(n_working: int, cost: float = 100.0) -> Worker:
    """A worker of eight slots and 100 load per second; ten requests of 100 were granted so far."""
    return make_worker(
        1,
        NOW,
        slots=8,
        reqnum=10,
        granted_load=1_000.0,
        granted_marks=((NOW, 1_000.0),),
        n_working=n_working,
        working_load=n_working * cost,
    )


@pytest.mark.parametrize("cost", [10.0, 100.0, 500.0])
@pytest.mark.parametrize(("n_working", "wait_s"), [(0, 0), (7, 0), (8, 1), (10, 3)])
def test_a_slot_takes_a_request_be_it_small_or_large(
    n_working: int, wait_s: float, cost: float
) -> None:
    """A full worker of 100 load per second passes a typical request of 100 each second."""
    (worker,) = build(slotted(n_working, cost)).workers
    assert worker.headroom_s == 7.0
    assert worker.wait_s(NOW) == wait_s


def test_what_is_on_its_way_takes_slots_by_its_load() -> None:
    row = replace(slotted(6), granted_load=1_200.0, granted_marks=((NOW - 1, 1_000.0),))
    (worker,) = build(replace(row, reqnum=12, reported_at=NOW - 1)).workers
    assert worker.wait_s(NOW) == pytest.approx(1.0)


def test_a_new_workers_slots_count_by_what_others_were_granted() -> None:
    fresh = make_worker(2, NOW, slots=8)
    workers = build(slotted(0), fresh).workers
    assert [w.headroom_s for w in workers] == [7.0, 7.0]


@pytest.mark.parametrize("is_paced", [True, False])
def test_free_slots_are_room_for_those_who_wait(is_paced: bool) -> None:
    """Three make nobody wait; one comes free each second, for 3 s and as long as is bound ahead."""
    waiting = tuple(Queued(NOW - 6 + i / 2, 100.0, is_paced=is_paced) for i in range(12))
    cutoff = build(slotted(4), waiting=waiting).cutoffs.for_key("")
    n_admitted = sum(
        may_start(request, NOW, cutoff, AdmissionParams(), dice=0.99) for request in waiting
    )
    assert n_admitted == (7 if is_paced else 11)


def test_the_eta_without_ready_workers_comes_from_those_on_their_way() -> None:
    starting = make_worker(1, NOW, state=WorkerState.STARTING, state_since=NOW - 5)
    queue = build(starting).queue
    assert (queue.capacity, queue.coming_capacity, queue.capacity_at) == (0, 100, NOW + 40)


def test_the_eta_of_a_first_load_follows_the_line_of_its_host() -> None:
    coming = make_worker(
        1, NOW, state=WorkerState.LOADING, created_at=NOW - 30, loaded_at=0.0, load_s=940.0
    )
    slow, usual = coming, replace(coming, instance_id=2, load_s=0.0)
    assert build(slow).queue.capacity_at == NOW + 910
    assert build(slow, usual).queue.capacity_at == NOW + LOADING_S - 30


def test_waiting_requests_make_cutoffs() -> None:
    waiting = tuple(Queued(first_seen_at=NOW - i, cost=500.0, key_id="k") for i in range(1, 6))
    cutoff = build(make_worker(1, NOW), waiting=waiting).cutoffs.for_key("k")
    # 9 s of work fit: the two oldest; as all are of a size, half of the queue target is added.
    assert cutoff.admit_before == NOW - 4 + 5


def test_no_room_is_kept_for_requests_that_will_be_overdue_when_they_ask_again() -> None:
    ages_s = (9.5, 9.0, 8.5, 1.0)
    waiting = tuple(Queued(first_seen_at=NOW - age, cost=500.0, key_id="k") for age in ages_s)
    assert build(make_worker(1, NOW), waiting=waiting).cutoffs.for_key("k").is_open


def test_a_large_fleet_is_dealt_to_fair_shards() -> None:
    groups = (AutogroupFacts(autogroup_id=70), AutogroupFacts(autogroup_id=71))
    rows = [
        make_worker(i, NOW, autogroup_id=71 if i % 50 == 0 else 70)
        for i in range(1, 2 * SHARD_SIZE + 2)
    ]
    shards = build_view(make_group(autogroups=groups), rows, [], NOW)
    sizes = [len(view.workers) for view in shards]
    assert (len(shards), max(sizes) - min(sizes) <= 1, sum(sizes)) == (3, True, len(rows))
    for view in shards:
        assert 2 <= sum(w.autogroup_index == 1 for w in view.workers) <= 4
        assert view.n_by_state == {"ready": len(rows)}


def test_each_shard_tells_its_part_of_all_grants() -> None:
    """Else routers would reckon with others' grants to workers that they do not even see."""
    rows = [
        make_worker(i, NOW, reqnum=20, granted_load=2_000.0) for i in range(1, 2 * SHARD_SIZE + 1)
    ]
    shards = build_view(make_group(), rows, [], NOW)
    assert [view.grants_per_s for view in shards] == [pytest.approx(SHARD_SIZE)] * 2


def test_the_rebuild_of_a_large_fleet_is_rarer() -> None:
    assert [rebuild_interval_s(n) for n in (0, 500, 10_000)] == [1.0, 1.0, 20.0]


rows = st.lists(
    st.builds(
        make_worker,
        instance_id=st.integers(min_value=1, max_value=2**40),
        now=st.just(NOW),
        perf=st.floats(min_value=0.01, max_value=1e9),
        usd_per_hour=st.floats(min_value=0, max_value=100),
        working_load=st.floats(min_value=0, max_value=1e9),
        granted_load=st.floats(min_value=0, max_value=1e12),
        ticket=st.sampled_from(TicketGeneration),
        version=st.sampled_from(["", "1.1.0", "2.0.0", "2.1.0"]),
        boot_id=st.binary(min_size=8, max_size=8).map(bytes.hex),
        certificate_sha256=st.sampled_from(["", "ab" * 32]),
        key_id=st.sampled_from(["", "k1", "k2"]),
    ),
    max_size=12,
    unique_by=lambda w: w.instance_id,
)


@given(rows, st.lists(st.floats(min_value=NOW - 99, max_value=NOW), max_size=9))
def test_a_view_comes_back_as_it_was_packed(fleet: list[Worker], seen: list[float]) -> None:
    waiting = tuple(Queued(first_seen_at=at, cost=10.0, key_id="k") for at in seen)
    view = build(*fleet, waiting=waiting)
    again = unpack_view(pack_view(view))
    assert columns(again) == columns(view)
    assert replace(again, workers=(), cutoffs=view.cutoffs) == replace(view, workers=())
    for key_id in ("k", "other"):
        mine, theirs = view.cutoffs.for_key(key_id), again.cutoffs.for_key(key_id)
        assert max(mine.admit_before, 0.0) == theirs.admit_before
        assert max(mine.overdue_admit_before, 0.0) == theirs.overdue_admit_before


@given(st.binary(max_size=80))
def test_other_bytes_are_refused(blob: bytes) -> None:
    with pytest.raises(PackedViewError):
        unpack_view(blob)


def test_a_view_that_is_cut_off_is_refused() -> None:
    blob = pack_view(build(make_worker(1, NOW), make_worker(2, NOW)))
    for size in (10, len(blob) // 2, len(blob) - 60):
        with pytest.raises(PackedViewError):
            unpack_view(blob[:size])


def test_two_hundred_and_fifty_workers_take_less_than_32_kilobytes() -> None:
    fleet = [make_worker(i, NOW, certificate_sha256="ab" * 32) for i in range(1, SHARD_SIZE + 1)]
    assert len(pack_view(build(*fleet))) < 32_768


def test_the_directory_holds_what_routing_needs() -> None:
    group = EndpointGroup(
        endpoint_id=7,
        name="group 7",
        created_at=NOW,
        state=GroupState.SUSPENDED,
        key_generation=3,
        params=ScalingParams(
            target_queue_time=4.0, max_queue_time=9.0, queue_order=QueueOrder.FIFO
        ),
    )
    autogroups = [
        Autogroup(autogroup_id=71, endpoint_id=7, created_at=NOW, weight=0.5, tier=2),
        Autogroup(autogroup_id=70, endpoint_id=7, created_at=NOW, state=AutogroupState.PAUSED),
        Autogroup(autogroup_id=80, endpoint_id=8, created_at=NOW),
    ]
    directory = unpack_directory(pack_directory([group_facts(group, autogroups)]))
    facts = directory.find("group 7")
    assert directory.find(endpoint_id=7) == facts
    assert directory.find("group 7", 8) is None
    assert facts == make_group(
        name="group 7",
        state=GroupState.SUSPENDED,
        key_generation=3,
        params=AdmissionParams(
            target_queue_time=4.0, max_queue_time=9.0, queue_order=QueueOrder.FIFO
        ),
        autogroups=(
            AutogroupFacts(autogroup_id=70, is_active=False),
            AutogroupFacts(autogroup_id=71, weight=0.5, tier=2),
        ),
    )


def test_no_directory_is_an_empty_one() -> None:
    assert unpack_directory(None).find("llm") is None


def test_ten_thousand_groups_fit_an_item_and_are_found() -> None:
    """0.1 ended at 2,150 groups: an item takes 400 KB, and JSON took 186 bytes a group."""
    rng = random.Random(1)
    names = [f"customer {rng.getrandbits(48):012x}" for _ in range(10_000)]
    two = (AutogroupFacts(autogroup_id=1), AutogroupFacts(autogroup_id=2))
    groups = [
        make_group(endpoint_id=1_000 + i, name=name, autogroups=two) for i, name in enumerate(names)
    ]
    blob = pack_directory(groups)
    assert len(blob) < 350_000
    directory = unpack_directory(blob)
    for i in (0, 4_711, 9_999):
        assert directory.find(names[i]) == directory.find(endpoint_id=1_000 + i) == groups[i]
