"""A lone worker that gets slower: what was learned of demand stays, unless it was never so fast."""

from __future__ import annotations

import pytest

from chalicelib.core.model.load import OBSERVED_MARGIN, believed_perf
from chalicelib.core.scaling.learning import DISPROVED, learn
from chalicelib.core.scaling.memory import ScalingMemory
from fakes.bundles.hot_ports import make_worker as make_row
from tests.core.test_scaling import NOW, make_snapshot, make_worker

PERF, DEMAND = 1_000.0, 300.0


@pytest.mark.parametrize("part", [0.5, 0.1, 1.01 / DISPROVED, 0.99 / DISPROVED, 1e-9])
def test_demand_is_forgotten_only_with_a_claim_that_never_was(part: float) -> None:
    """Half its speed: a hot GPU. A tenth: the slowest recorded GPU for the fastest one."""
    memory = ScalingMemory(worker_perf=PERF, mean_raw=DEMAND, mean_occupancy=DEMAND)
    memory.peaks = [[NOW - 60.0, DEMAND]]
    learn(memory, make_snapshot(make_worker(1, perf=PERF * part)), NOW)
    left = part if part * DISPROVED < 1 else 1.0
    assert memory.worker_perf == pytest.approx(PERF * part)
    assert memory.mean_raw == memory.mean_occupancy == pytest.approx(DEMAND * left)
    assert memory.peaks[0][1] == pytest.approx(DEMAND * left)


def test_a_worker_at_half_its_benchmark_counts_as_what_it_shows() -> None:
    row = make_row(1, NOW, perf=PERF, observed_perf=PERF / 2)
    assert believed_perf(row) == pytest.approx(OBSERVED_MARGIN * PERF / 2)
