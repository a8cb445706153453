"""docs/metrics.md and the Grafana file name metrics that `/metrics` gives, and all of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from chalicelib.core.model.warmth import CacheUse
from tests.api.over_fakes import Api
from tests.api.test_observability import make_worker

DOCS = Path(__file__).parents[2] / "docs"
NAME = re.compile(r"\bballast_[a-z_]+")


def given(api: Api) -> set[str]:
    api.create_endpoint("llm")
    api.create_autogroup(100)
    make_worker(api, cache=CacheUse(1e6, 0.5, 0.3))
    return {
        line.partition("{")[0].partition(" ")[0]
        for line in api.call("GET", "/metrics").text.splitlines()
        if line.startswith("ballast_")
    }


def test_every_metric_of_the_page_and_of_the_dashboard_is_given(api: Api) -> None:
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
    used = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in NAME.findall(target["expr"])
    }
    told = set(NAME.findall((DOCS / "metrics.md").read_text()))
    assert used
    assert used | told <= given(api)
    assert used <= told
