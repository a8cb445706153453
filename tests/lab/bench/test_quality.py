"""The budgets of routing on a stale view, in a short form of `python -m lab.bench quality`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ballast.simulator.routed.routing import RoutingCase
from lab.bench.routers.quality import SCENES, Scene, measure, misses, summary


@pytest.mark.parametrize("scene", SCENES, ids=["10 and 20", "100 and 100"])
def test_routers_that_share_a_view_keep_their_budgets(scene: Scene) -> None:
    case = RoutingCase(n_workers=scene.n_workers, n_routers=scene.n_routers, n_requests=4_000)
    figures = summary([measure(replace(case, seed=seed)) for seed in (1, 2)])
    assert figures["attempts_per_grant"] < 1.6
    assert not misses(scene, figures)


def test_a_figure_above_its_budget_is_named() -> None:
    scene = Scene(n_workers=1, n_routers=1, max_attempts=1.3, max_mean_ratio=1.3)
    figures = {"attempts_per_grant": 1.31, "mean_ratio": 1.2}
    assert misses(scene, figures) == ["attempts_per_grant"]
