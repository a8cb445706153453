"""The console that stands in for the API has nothing that the real API lacks.

For every route that the command and the dashboard read, each field of the console's answer is a
field of the app's own answer over fakes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fakes.console.console_scenes import fleet
from fakes.console.server import KEY, Call
from tests.api.over_fakes import Api
from tests.api.test_observability import make_worker

OPTIONAL = {  # absent or empty in the app's answer until something has happened
    ("/api/v0/events", "events[].facts.reason"),
    ("/api/v0/events", "events[].facts.host_id"),
}


@pytest.fixture
def real(api: Api) -> Api:
    """Endpoint 100 with autogroup 101, a worker, a minute of series."""
    api.create_endpoint("llm", cold_mult=1.0)
    api.create_autogroup(100)
    make_worker(api)
    minute = int(api.clock.now() // 60)
    tally = {"begun_at": api.clock.now() - 60, "until": 0.0, "ready_s": 60.0, "max_ready": 1.0}
    api.series.put("spend:100", minute - 1, tally | {"gpu_usd:7:101:1x RTX 4090": 0.01})
    api.series.put("endpoint:100", minute - 1, {"arriving_load": 3.0, "capacity": 40.0})
    return api


@pytest.fixture
def api() -> Api:
    """The app over fakes."""
    return Api()


def fields(value: Any, path: str = "") -> Iterator[str]:
    """The paths of all fields, a list by its first element."""
    if isinstance(value, dict):
        for name, item in value.items():
            if ":" not in name and not name.isdigit():  # a GPU type or an id as a name
                yield f"{path}{name}"
                yield from fields(item, f"{path}{name}.")
    elif isinstance(value, list) and value:
        yield from fields(value[0], f"{path.rstrip('.')}[].")


@pytest.mark.parametrize(
    ("method", "path", "query", "body"),
    [
        ("GET", "/api/v0/status", {}, None),
        ("GET", "/api/v0/endptjobs/", {}, None),
        ("GET", "/api/v0/autojobs/", {}, None),
        ("GET", "/api/v0/events", {"endpoint_id": "{id}"}, None),
        ("GET", "/api/v0/compare", {"endpoint_id": "{id}", "hours": "24"}, None),
        ("GET", "/api/v0/spend", {}, None),
        ("POST", "/get_endpoint_workers/", {}, {"id": "{id}"}),
    ],
)
def test_each_field_of_the_console_is_one_of_the_app(
    real: Api, method: str, path: str, query: dict[str, str], body: dict[str, Any] | None
) -> None:
    _, pretended = fleet(1).answer(Call(method, path, query, {"id": 7}), KEY)
    words = "&".join(f"{name}={value.format(id=100)}" for name, value in query.items())
    sent = None if body is None else {"id": 100}
    answer = real.call(method, f"{path}?{words}" if words else path, sent)
    assert answer.status == 200, answer.text
    known = set(fields(answer.json))
    states = {one for one in known if "workers_by_state" in one}
    missing = [
        one
        for one in dict.fromkeys(fields(pretended))
        if one not in known
        and (path, one.rstrip(".")) not in OPTIONAL
        and not (states and "workers_by_state." in one)
        and not one.startswith("groups[].last_decision.")
        and ".facts." not in one
    ]
    assert missing == []


def test_the_columns_that_the_charts_read_come_as_the_app_names_them(real: Api) -> None:
    now = real.clock.now()
    answer = real.call(
        "GET", f"/api/v0/series?endpoint_id=100&t1={now - 600}&t2={now}&max_points=9"
    )
    assert answer.status == 200, answer.text
    assert {"t", "values", "step_s"} <= answer.json.keys()
    assert answer.json["values"]["arriving_load"][-1] == 3.0


def test_the_dashboards_files_are_served_with_a_policy_that_allows_nothing_foreign(
    real: Api,
) -> None:
    page = real.call("GET", "/dashboard", key=None)
    assert page.status == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for name in ("app.js", "style.css", "uplot.js"):
        assert real.call("GET", f"/dashboard/{name}", key=None).status == 200
        assert f"dashboard/{name}" in page.text
