"""Of workers that cost the same, the one whose cache holds least leaves first."""

from __future__ import annotations

import pytest

from chalicelib.core.model.warmth import CacheUse
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.actions import DestroyWorker, DrainWorker, RecallWorker
from chalicelib.core.scaling.comparison import compare_hardware
from chalicelib.core.scaling.decision import decide_scaling
from chalicelib.core.scaling.minute_series import fleet_figures
from chalicelib.core.scaling.snapshot import WorkerFacts
from tests.core.test_comparison import AUTOGROUP
from tests.core.test_comparison import worker as row
from tests.core.test_scaling import NOW, make_snapshot, make_worker, of_kind

WARM = CacheUse(1e6, 0.5, 0.3)
COOL = CacheUse(1e6, 0.1, 0.1)
COLD = CacheUse(10.0, 1.0, 1.0)  # all was cached, of next to nothing


def worker(number: int, cache: CacheUse | None, **facts: object) -> WorkerFacts:
    return make_worker(number, cache=cache, **facts)  # type: ignore[arg-type]


def drained(*workers: WorkerFacts, min_load: float) -> list[int]:
    plan = decide_scaling(make_snapshot(*workers, min_load=min_load), {}, NOW)
    return [action.instance_id for action in of_kind(plan, DrainWorker)]


@pytest.mark.parametrize("caches", [(WARM, COOL, COLD), (COLD, COOL, WARM), (COOL, WARM, None)])
@pytest.mark.parametrize("n_working", [0, 1])
def test_of_equals_the_coldest_leaves_first(
    caches: tuple[CacheUse | None, ...], n_working: int
) -> None:
    workers = [worker(i, cache, n_working=n_working) for i, cache in enumerate(caches, 1)]
    coldest = min(workers, key=lambda w: w.cache.cached_tokens if w.cache else 0.0)
    assert drained(*workers, min_load=150.0) == [coldest.instance_id]


def test_a_worker_that_came_up_just_now_leaves_before_one_that_has_served() -> None:
    assert drained(worker(1, WARM), worker(2, None), min_load=90.0) == [2]
    assert drained(worker(1, None), worker(2, WARM), min_load=90.0) == [1]


def test_what_is_worth_more_than_a_cache_decides() -> None:
    """Two percent of the price are equal, three are not."""
    nearly = worker(1, WARM, usd_per_hour=0.5 * 1.01)
    dearer = worker(1, WARM, usd_per_hour=0.5 * 1.03)
    other = worker(2, COLD)
    assert drained(nearly, other, min_load=90.0) == [2]
    assert drained(dearer, other, min_load=90.0) == [1]


def test_the_warmest_is_recalled_first() -> None:
    draining = [
        worker(i, cache, state=WorkerState.DRAINING, after_drain="stop", n_working=2)
        for i, cache in ((1, COLD), (2, WARM), (3, None))
    ]
    plan = decide_scaling(make_snapshot(*draining, min_load=90.0), {}, NOW)
    assert [action.instance_id for action in of_kind(plan, RecallWorker)] == [2]


def test_over_a_lowered_cap_the_coldest_goes() -> None:
    workers = [worker(i, cache) for i, cache in ((1, WARM), (2, COLD), (3, WARM))]
    plan = decide_scaling(make_snapshot(*workers, max_workers=2, min_load=500.0), {}, NOW)
    assert not of_kind(plan, DestroyWorker)
    assert [action.instance_id for action in of_kind(plan, DrainWorker)] == [2]


def test_hits_are_a_figure_of_a_minute_and_of_an_autogroup_where_workers_tell() -> None:
    ready = [worker(1, CacheUse(300, 0.1, 0)), worker(2, CacheUse(100, 0.5, 0)), worker(3, None)]
    stopped = worker(4, WARM, state=WorkerState.STOPPED)  # its memory is gone
    assert fleet_figures([*ready, stopped])["cache_hit_share"] == 0.2
    assert "cache_hit_share" not in fleet_figures([worker(3, None), stopped])
    rows = [row(1, state=WorkerState.READY, cache=CacheUse(300, 0.1, 0.1)), row(2)]
    assert compare_hardware(AUTOGROUP, rows, [])["cache_hit_share"] == 0.1
    assert compare_hardware(AUTOGROUP, [row(2)], [])["cache_hit_share"] is None
