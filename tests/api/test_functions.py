"""What each Lambda function loads and logs, and what the scaler function does with its events."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from chalicelib.api.routes.scaler import answer_event
from chalicelib.api.telemetry import (
    STORM_S,
    JsonFormatter,
    StormFilter,
    TraceFilter,
    emit_metrics,
)
from chalicelib.ports.errors import PortError
from chalicelib.ports.scaler_poke import from_answer
from fakes.worlds.world import World
from lab.local.gateway.lambda_context import LambdaContext
from tests.api.over_fakes import Api

ROOT = Path(__file__).parent.parent.parent
PROBE = """
import json, sys
import app
print(json.dumps({"routes": sorted(app.app.routes), "modules": sorted(sys.modules)}))
"""


def loaded(role: str) -> dict[str, list[str]]:
    """The routes and modules of a function with this role, in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=ROOT,
        env={"BALLAST_ROLE": role, "AWS_DEFAULT_REGION": "us-east-1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    result: dict[str, list[str]] = json.loads(done.stdout)
    return result


def test_the_hot_function_serves_two_routes_and_loads_nothing_slow() -> None:
    hot = loaded("hot")
    assert hot["routes"] == ["/pubkey", "/route"]
    slow = {"requests", "pynamodb", "aws_lambda_powertools", "chalicelib.services.owner.groups"}
    assert slow & set(hot["modules"]) == set()


def test_the_scaler_serves_no_route_and_the_api_handler_all() -> None:
    assert loaded("scaler")["routes"] == []
    assert loaded("reports")["routes"] == ["/delete_requests", "/worker_status"]
    everything = loaded("")["routes"]
    assert {"/route", "/worker_status", "/api/v0/endptjobs", "/dashboard"} <= set(everything)


def test_a_failure_is_one_json_line_with_its_traceback() -> None:
    try:
        raise ValueError("no")  # noqa: TRY301  a traceback is wanted
    except ValueError:
        record = logging.LogRecord("ballast", 40, "", 0, "failed", None, sys.exc_info())
    record.endpoint_id = 7
    line = json.loads(JsonFormatter().format(record))
    assert (line["level"], line["message"], line["endpoint_id"]) == ("ERROR", "failed", 7)
    assert "ValueError: no" in line["exception"]


class Surprising:
    """A repository of groups that fails as nobody foresaw."""

    def list_groups(self) -> object:
        raise RuntimeError("nobody foresaw this")


@pytest.mark.parametrize("header", ["", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"])
def test_the_answer_and_the_log_name_the_trace_of_the_caller_or_a_new_one(header: str) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(TraceFilter())
    logger = logging.getLogger("ballast")
    api = Api()
    api.ports = replace(api.ports, groups=Surprising())  # type: ignore[arg-type]
    logger.addHandler(handler)
    try:
        answer = api.call("GET", "/api/v0/status", headers={"Traceparent": header})
    finally:
        logger.removeHandler(handler)
    assert answer.status == 500
    _, trace_id, span_id, _ = answer.headers["traceparent"].split("-")
    line = json.loads(stream.getvalue())
    assert (line["trace_id"], line["span_id"]) == (trace_id, span_id)
    assert trace_id == (header.split("-")[1] if header else trace_id)
    assert span_id not in header


def test_the_figures_of_all_rounds_become_one_metrics_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = {"RoundDurationS": 0.5, "Grants": 3.0, "UsdPerHour": 0.4, "LateShare": float("nan")}
    emit_metrics([first, {"Grants": 4.0}])
    line = json.loads(capsys.readouterr().out)
    names = {m["Name"]: m["Unit"] for m in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    assert names == {"RoundDurationS": "Seconds", "Grants": "Count", "UsdPerHour": "None"}
    assert line["Grants"] == [3.0, 4.0]  # every round counts, not just the last of the minute
    emit_metrics([])
    assert capsys.readouterr().out == ""


def test_the_scaler_answers_questions_and_its_errors_travel() -> None:
    world = World()
    endpoint_id = world.add_group("llm").endpoint_id
    context = LambdaContext("scaler", 60.0)
    reply = answer_event({"ask": "plan", "endpoint_id": endpoint_id}, context, lambda: world.ports)
    assert from_answer(reply)["endpoint_id"] == endpoint_id
    refused = answer_event({"ask": "weather"}, context, lambda: world.ports)
    with pytest.raises(PortError, match="weather"):
        from_answer(refused)


@pytest.mark.parametrize("event", [{}, {"poke": 100, "reason": "waiting"}, {"detail": {}}])
def test_everything_else_runs_rounds_and_leaves_their_figures(
    event: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    world = World()
    world.add_group("llm")
    assert answer_event(event, LambdaContext("scaler", 9.0), lambda: world.ports) == {}
    assert '"RoundDurationS"' in capsys.readouterr().out


def test_what_vast_refuses_to_the_key_is_told_by_what_it_is_for() -> None:
    world = World()
    context = LambdaContext("scaler", 60.0)
    answer = from_answer(answer_event({"ask": "key_scope"}, context, lambda: world.ports))
    tried = [
        "instance_read (list instances)",
        "misc (search offers)",
        "user_read (templates)",
        "user_read (credit)",
    ]
    assert answer == {"tried": tried, "refused": {}, "unanswered": {}}
    world.market.switch_on("market-down", world.now)
    world.tick(30)
    answer = from_answer(answer_event({"ask": "key_scope"}, context, lambda: world.ports))
    assert answer["refused"] == {}, "an outage refuses nobody a right"
    unanswered = answer["unanswered"]
    assert isinstance(unanswered, dict)
    assert set(unanswered) == set(tried)


def test_trouble_writes_a_line_of_each_kind_in_ten_seconds_not_one_a_request() -> None:
    storm = StormFilter()

    def passes(kind: str, at: float, level: int = logging.WARNING) -> logging.LogRecord | None:
        record = logging.makeLogRecord({"msg": kind, "levelno": level, "created": at})
        return record if storm.filter(record) else None

    assert passes("grant_failed", 0.0)
    assert not any(passes("grant_failed", i / 100) for i in range(1, 501))
    assert passes("waiting_row_missing", 1.0)
    assert passes("request_failed", 1.0, logging.ERROR)
    assert passes("request_failed", 1.0, logging.ERROR)
    later = passes("grant_failed", STORM_S)
    assert later is not None
    assert vars(later)["n_left_out"] == 500
