"""The load test counts what happened, keeps its rate, and stops cleanly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from ballast.loadtest.arrivals import even
from ballast.loadtest.engine import LoadRun, Target
from ballast.loadtest.results import Outcome, State, percentiles, summarise
from tests.ballast.client.world import DEFAULT_CTRL_C, real_worker, servers, wait_until
from workers.tgi.test_load import WORKLOAD
from workers.tgi.test_load import make_payload as tgi_payload

ROOT = Path(__file__).parents[3]


def test_a_run_counts_states_errors_and_workers() -> None:
    with servers() as it:
        it.worker.statuses = [422, 422]
        target = Target(url=it.control_plane_url, api_key="k", endpoint="e")
        run = LoadRun(target=target, workload=WORKLOAD)
        run.run(even(50, 20))
        run.stop()
        summary = summarise(run.outcomes, run.elapsed_s)
    assert summary.by_state == {"done": 18, "failed": 2}
    assert summary.errors == {"WorkerRefusedError 422": 2}
    assert summary.n_unique_workers == 1
    assert summary.requests_by_worker == {it.worker_url: 18}
    assert set(summary.latency_s) == {"route", "wait", "first_token", "total"}
    assert json.dumps(summary.to_json())


def test_a_slow_answer_holds_no_arrival_up(tmp_path: Path) -> None:
    """Open loop: the tenth request is sent on time although none has been answered."""
    with real_worker(tmp_path) as (it, url):
        it.control_plane.next_grant = None
        run = LoadRun(target=Target(url=url, api_key="k", endpoint="e"), workload=WORKLOAD)
        run.max_in_flight = 5
        thread = threading.Thread(target=run.run, args=(even(100, 10),))
        thread.start()
        turned_away = ["TooManyInFlight"] * 5
        wait_until(lambda: [o.error for o in run.outcomes[5:]] == turned_away, "all are sent")
        assert [o.state for o in run.outcomes[:5]] == [State.WAITING] * 5
        run.stop()
        thread.join(60)
        assert not thread.is_alive()
        assert sum(o.state is State.STOPPED for o in run.outcomes) == 5


def test_percentiles_are_nearest_rank() -> None:
    values = [float(n) for n in range(1, 101)]
    assert percentiles(values) == (p := percentiles(values[::-1]))
    assert (p.p50, p.p95, p.p99) == (50, 95, 99)
    assert percentiles([3.0]).p99 == 3.0


def test_a_run_without_any_answer_has_a_summary_too() -> None:
    summary = summarise([Outcome(started_at_s=0.0, state=State.FAILED, error="X")], 1.0)
    assert summary.latency_s == {}
    assert summary.requests_per_minute == 0


def test_ctrl_c_stops_cleanly_with_a_summary() -> None:
    with servers() as it:
        it.control_plane.next_grant = None  # everybody waits
        run = subprocess.Popen(
            [
                *DEFAULT_CTRL_C,
                *(sys.executable, "-m", "workers.tgi.test_load", "-n", "1000", "-rps", "50"),
                *("-k", "k", "-e", "e", "-u", it.control_plane_url),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        wait_until(lambda: len(it.control_plane.routes) >= 20, "it runs")
        os.kill(run.pid, signal.SIGINT)
        stdout, stderr = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "stopped" in stdout
    assert "Traceback" not in stderr


def test_payload_and_cost_follow_the_trace() -> None:
    payload, cost = tgi_payload(40)
    assert payload["parameters"] == {"max_new_tokens": 40}
    assert cost == 40
