"""`/route/` with a worker that is ready: every body has an answer that a client understands."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.services.keys import KeyLimits, endpoint_key, issue_key
from chalicelib.services.routing.views import publish_directory, rebuild_view
from fakes.bundles.hot_ports import make_worker
from tests.api.over_fakes import Api

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
COSTS = [0, 0.0, -0.0, "0", 1e-7, "1e-5", 1e-6, 5e-324, 1e9, "5", 100.0, None]
WRONG_COSTS = [-1, True, "abc", [], {}, 1e308, 1e18, 10**400, "NaN", float("nan"), "1e999"]
NAMES = (
    *("endpoint", "endpoint_id", "cost", "request_idx", "paced", "api_key", "replay_timeout"),
    *("affinity", "prefix_cost"),
)
AFFINITIES = ["a", "é" * 128, "\u202e\0\n", ["system", "🙂"], [], None, ["same", "same"]]
WRONG_AFFINITIES = ["", "x" * 129, 7, 1.5, True, {}, {"a": 1}, [[]], [None], [""], ["a"] * 1_000]


class Running:
    """A group with a ready worker, and a key of each kind."""

    def __init__(self) -> None:
        self.api = Api()
        endpoint_id = self.api.create_endpoint("llm")
        autogroup_id = self.api.create_autogroup(endpoint_id)
        now = self.api.clock.now()
        worker = make_worker(1, now, endpoint_id=endpoint_id, autogroup_id=autogroup_id, perf=1e12)
        self.api.workers.rows[endpoint_id, 1] = worker
        publish_directory(self.api.ports)
        rebuild_view(self.api.ports, endpoint_id, now)
        limits = KeyLimits(max_requests_per_s=1.0, max_load_per_s=1.0, max_concurrent=1)
        limited, _ = issue_key(self.api.ports, name="l", verbs=("route",), limits=limits)
        self.keys = [endpoint_key(self.api.secrets, endpoint_id, 1), limited, "wrong", None]

    def ask(self, body: object, key: str | None) -> tuple[int, dict[str, object]]:
        answer = self.api.call("POST", "/route/", body, key=key)
        found = json.loads(answer.text)
        assert isinstance(found, dict)
        return answer.status, found


@pytest.fixture(scope="module")
def running() -> Running:
    return Running()


def assert_understood(status: int, body: dict[str, object]) -> None:
    """A ticket, a place in the queue, or a reason; never another error's form, never a 5xx."""
    assert status in (200, 400, 401), (status, body)
    if status != 200:
        assert isinstance(body["error_msg"], str)
        assert body["error_msg"]
        assert "url" not in body
    elif "url" in body:
        assert body["signature"]
    else:
        assert body["request_idx"]
        assert body["status"]


@pytest.mark.parametrize("cost", COSTS)
def test_every_cost_in_bounds_is_granted(running: Running, cost: object) -> None:
    """`cost: 0` was a bare 500 once a worker was ready."""
    status, body = running.ask({"endpoint": "llm", "cost": cost}, running.keys[0])
    assert (status, "url" in body) == (200, True), body


@pytest.mark.parametrize("affinity", AFFINITIES, ids=repr)
def test_every_affinity_in_bounds_is_granted(running: Running, affinity: object) -> None:
    status, body = running.ask({"endpoint": "llm", "affinity": affinity}, running.keys[0])
    assert (status, "url" in body) == (200, True), body


@pytest.mark.parametrize("affinity", WRONG_AFFINITIES, ids=lambda value: repr(value)[:20])
def test_every_other_affinity_is_refused_with_words(running: Running, affinity: object) -> None:
    status, body = running.ask({"endpoint": "llm", "affinity": affinity}, running.keys[0])
    assert status == 400
    assert "affinity: " in str(body["error_msg"])


@pytest.mark.parametrize("cost", WRONG_COSTS, ids=lambda cost: str(cost)[:20])
def test_every_other_cost_is_refused_with_words(running: Running, cost: object) -> None:
    status, body = running.ask({"endpoint": "llm", "cost": cost}, running.keys[0])
    assert status == 400
    assert "cost" in str(body["error_msg"]) or "number" in str(body["error_msg"])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), JSON, max_size=6),
    st.booleans(),
    st.integers(0, 3),
)
def test_any_object_is_understood(
    running: Running, fields: dict[str, object], names_group: bool, key: int
) -> None:
    body = {"endpoint": "llm", **fields} if names_group else fields
    assert_understood(*running.ask(body, running.keys[key]))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_understood(running: Running, raw: bytes) -> None:
    assert_understood(*running.ask(raw, running.keys[0]))


@pytest.mark.long
@settings(max_examples=5_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.sampled_from(NAMES) | st.text(), JSON, max_size=8), st.integers(0, 3))
def test_any_of_thousands_of_objects_is_understood(
    running: Running, fields: dict[str, object], key: int
) -> None:
    assert_understood(*running.ask({"endpoint": "llm", **fields}, running.keys[key]))
