"""What caches spare, as workers tell it: untold is not nothing, and a liar speaks for itself."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from chalicelib.core.fleet.report import apply_report
from chalicelib.core.model.load import add_mark
from chalicelib.core.model.warmth import CacheUse, hit_share
from chalicelib.core.model.worker import Worker
from chalicelib.core.routing.affinity import (
    ENOUGH_LOAD,
    LATELY_S,
    UNTOLD,
    CacheBelief,
    Preference,
    Promises,
    bucket_of,
    preferences_of,
)
from chalicelib.core.routing.choice import Why
from chalicelib.core.routing.packed_view import pack_view, unpack_view
from chalicelib.core.routing.table import RoutingTable
from chalicelib.core.routing.view import build_view
from chalicelib.wire.json_body import WireError
from chalicelib.wire.reports import WorkerReport
from fakes.bundles.hot_ports import make_group, make_worker
from tests.core.test_affinity import NOW, ONE_GROUP, choose, home, wish, worker

TOLD = {"prompt_tokens": 4_000.0, "cache_hit_share": 0.75, "cache_spared_share": 0.125}


def reported(row: Worker, **fields: object) -> Worker:
    body = {
        "id": row.instance_id,
        "ticket": "D",
        "boot_id": "0123456789abcdef",
        "seq": 1 + row.report_seq,
        "max_perf": 100.0,
        "cur_load": 0.0,
        **fields,
    }
    outcome = apply_report(row, WorkerReport.from_json(json.dumps(body)), NOW)
    assert outcome.is_news
    return replace(row, **outcome.changes)  # type: ignore[arg-type]


def served(instance_id: int, granted: float, cache: CacheUse | None) -> Worker:
    """A row that was granted so much in the last seconds."""
    marks = add_mark((), NOW - 30.0, 0.0)
    return make_worker(instance_id, NOW, granted_load=granted, granted_marks=marks, cache=cache)


def spared(*rows: Worker) -> float | None:
    (view,) = build_view(make_group(), rows, [], NOW)
    assert unpack_view(pack_view(view)).spared_share == view.spared_share
    return view.spared_share


def test_a_report_that_tells_of_the_cache_is_kept_and_one_that_does_not_changes_nothing() -> None:
    row = reported(make_worker(1, NOW), **TOLD)
    assert row.cache == CacheUse(4_000, 0.75, 0.125)
    assert row.cache.cached_tokens == 3_000
    assert reported(row).cache == row.cache
    assert reported(make_worker(1, NOW)).cache is None


@pytest.mark.parametrize("share", [1.5, 1e15])
def test_a_share_is_at_most_all(share: float) -> None:
    row = reported(
        make_worker(1, NOW), **{**TOLD, "cache_hit_share": share, "cache_spared_share": share}
    )
    assert row.cache == CacheUse(4_000, 1.0, 1.0)


@pytest.mark.parametrize("value", [-0.1, "0.5", None, True, float("nan")])
def test_what_is_no_share_is_refused_or_untold(value: object) -> None:
    body = {"id": 1, "ticket": "D", **TOLD, "prompt_tokens": value}
    if value is None:
        assert WorkerReport.from_json(json.dumps(body)).prompt_tokens is None
        return
    with pytest.raises(WireError):
        WorkerReport.from_json(json.dumps(body))


def test_a_groups_hits_are_of_those_that_tell() -> None:
    assert hit_share([]) is None
    assert hit_share([None, CacheUse(0.0, 0.0, 0.0)]) is None
    assert hit_share([None, CacheUse(100, 0.5, 0.1), CacheUse(300, 0.1, 0.1)]) == 0.2


def test_what_is_spared_is_weighed_by_grants_so_that_a_liar_stands_for_its_part() -> None:
    assert spared(served(1, 900.0, None)) is None
    assert spared(served(1, 900.0, None), served(2, 100.0, CacheUse(9, 0.2, 0.1))) == 0.1
    honest, liar = CacheUse(1e3, 0.2, 0.1), CacheUse(1e15, 1.0, 1.0)
    said = spared(served(1, 900.0, honest), served(2, 100.0, liar))
    assert said == pytest.approx(0.19)


def test_keys_without_lengths_save_what_hits_say_else_a_fifth() -> None:
    told = CacheBelief(spared=0.4)
    assert preferences_of(("a",), None, 50.0, told) == (Preference(bucket_of("a"), 20.0),)
    assert preferences_of(("a",), None, 50.0, UNTOLD) == (Preference(bucket_of("a"), 10.0),)
    assert preferences_of(("a",), None, 50.0, CacheBelief(spared=0.0))[0].saved_load == 0.0


def test_what_clients_state_is_believed_until_hits_say_otherwise() -> None:
    promises = Promises()
    assert promises.belief(None) == UNTOLD
    promises.note(0.5 * ENOUGH_LOAD, ENOUGH_LOAD - 1, NOW)
    assert promises.belief(0.1) == CacheBelief(1.0, 0.1)  # too little was granted yet
    promises.note(0.5, 1.0, NOW)
    assert promises.belief(0.1).kept == pytest.approx(0.2, rel=1e-3)
    assert promises.belief(0.9).kept == 1.0  # more than promised is not more than all
    assert promises.belief(0.0).kept == 0.0
    (preference,) = preferences_of(("a",), [60.0], 100.0, CacheBelief(0.2, 0.1))
    assert preference == Preference(bucket_of("a"), 12.0, 60.0)


def test_what_was_promised_fades_as_workers_own_counts_do() -> None:
    promises = Promises()
    promises.note(0.0, 1e6, NOW)
    promises.note(5_000.0, 10_000.0, NOW + 20 * LATELY_S)
    assert promises.belief(0.25).kept == pytest.approx(0.5, rel=0.01)


def test_a_fleet_whose_caches_hold_nothing_makes_nobody_wait_for_them() -> None:
    """Its clients state much, and its own counters say that none of it is spared."""
    table = RoutingTable(ONE_GROUP, [worker(i) for i in range(1, 5)])
    promises = Promises()
    own = home(table, "a")
    busy = [worker(i, wait_s=0.4 if i == own else 0.0) for i in range(1, 5)]
    crowded = RoutingTable(ONE_GROUP, busy)
    assert choose(crowded, wish("a")).why is Why.WARM  # it saves 0.6 s
    for _ in range(100):
        choice = choose(table, wish("a"))
        assert choice.promised_load == 60.0
        promises.note(choice.promised_load, 100.0, NOW)
    cold = preferences_of(("a",), [60.0], 100.0, promises.belief(0.0))
    assert choose(crowded, wish(preferences=cold)).worker.instance_id != own
    # and as soon as they hold something again, it is believed again
    warm = preferences_of(("a",), [60.0], 100.0, promises.belief(0.6))
    assert choose(crowded, wish(preferences=warm)).worker.instance_id == own


def test_a_key_that_goes_to_its_second_worker_promises_less() -> None:
    workers = [worker(i) for i in range(1, 5)]
    own = home(RoutingTable(ONE_GROUP, workers), "a")
    table = RoutingTable(ONE_GROUP, [worker(i, wait_s=9.0 if i == own else 0) for i in range(1, 5)])
    second = choose(table, wish("a"))
    assert (second.why, second.promised_load) == (Why.WARM, 30.0)
