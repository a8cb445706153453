"""docs/metrics.md and the Grafana file name metrics that `/metrics` gives, and all of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from chalicelib.core.model.warmth import CacheUse
from chalicelib.wire.observability import HELP
from tests.api.over_fakes import Api
from tests.api.test_observability import make_worker

DOCS = Path(__file__).parents[2] / "docs"
NAME = re.compile(r"\bballast_[a-z_]+")


def page(api: Api) -> str:
    api.create_endpoint("llm")
    api.create_autogroup(100)
    make_worker(api, cache=CacheUse(1e6, 0.5, 0.3))
    return str(api.call("GET", "/metrics").text)


def given(api: Api) -> set[str]:
    known = {"reqrate": 2.5, "queue_time_s": 0.1, "late_share": 0.0, "waiting": 3.0}
    api.series.put("endpoint:100", int(api.clock.now() // 60), known)
    return {
        line.partition("{")[0].partition(" ")[0]
        for line in page(api).splitlines()
        if line.startswith("ballast_")
    }


def test_each_series_says_what_it_is_and_has_no_sample_while_nobody_knows(api: Api) -> None:
    text = page(api)  # no round has written a minute
    families = {one.name: one for one in text_string_to_metric_families(text)}
    assert families.keys() < HELP.keys()
    assert {name: one.documentation for name, one in families.items()}.items() <= HELP.items()
    unknown = {"waiting", "late_share", "reqrate", "queue_time_seconds"}
    assert not {f"ballast_{name}" for name in unknown} & families.keys()
    assert families["ballast_ready"].samples[0].labels == {"endpoint": "llm", "endpoint_id": "100"}


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
    assert told == HELP.keys()
