"""What happened between two rounds, from counters that only grow."""

from __future__ import annotations

from dataclasses import replace

from chalicelib.core.scaling.facts import mark_traffic, measure_traffic
from chalicelib.core.scaling.snapshot import Waiting
from fakes.bundles.hot_ports import make_worker

NOW = 1_800_000_000.0
BEFORE = make_worker(1, NOW, reqnum=10, granted_load=100.0, n_late=2, n_refused=5)
AFTER = replace(BEFORE, reqnum=14, granted_load=160.0, n_late=3, n_refused=7)


def test_differences_of_the_counters_are_what_happened() -> None:
    mark = mark_traffic([BEFORE], Waiting(), NOW)
    traffic = measure_traffic(mark, [AFTER], Waiting(), [], NOW + 5)
    assert (traffic.n_started, traffic.arrived_load) == (4, 60.0)
    assert (traffic.n_late, traffic.n_refused) == (1, 2)


def test_a_counter_that_the_last_version_did_not_mark_counts_from_now_on() -> None:
    mark = {"at": NOW, "waiting": [0, 0.0], "workers": {"1": [10, 100.0, 0.0, 2]}}
    traffic = measure_traffic(mark, [AFTER], Waiting(), [], NOW + 5)
    assert (traffic.n_started, traffic.n_late, traffic.n_refused) == (4, 1, 0)


def test_without_workers_nothing_happened() -> None:
    assert measure_traffic({}, [], Waiting(), [], NOW).n_started == 0


def test_a_version_before_can_read_the_mark_and_one_after_this_may_count_more() -> None:
    """Rolled back, the version before failed in every round on a list of six counters."""
    mark = mark_traffic([AFTER], Waiting(), NOW)
    workers, came = mark["workers"], mark["came"]
    assert isinstance(workers, dict)
    assert isinstance(came, dict)
    assert {len(values) for values in workers.values()} == {5}
    expected = measure_traffic(mark, [AFTER], Waiting(), [], NOW + 5)
    in_one_list = {id_: [*values, came[id_]] for id_, values in workers.items()}
    for former in ({**mark, "came": None}, {**mark, "workers": in_one_list}):
        assert measure_traffic(former, [AFTER], Waiting(), [], NOW + 5) == expected
    longer = {id_: [*values, 7.0] for id_, values in in_one_list.items()}
    assert measure_traffic({**mark, "workers": longer}, [AFTER], Waiting(), [], NOW + 5) == expected
