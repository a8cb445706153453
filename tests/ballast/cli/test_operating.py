"""Looking and steering: status, watch, logs, plan, explain, spend, rollout, brakes, chaos."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from ballast.cli.commands.watch.logs import news
from fakes.console.console_scenes import NOW
from fakes.console.server import Console
from tests.ballast.client.world import DEFAULT_CTRL_C

Ballast = Callable[..., Any]  # runs the command in this process, see conftest.py

OFFER = {"gpu_type": "1x RTX 4090", "usd_per_hour": 0.341, "machine_id": 5003}
PLAN = {
    "at": NOW, "hot_target": 820.0, "total_target": 1_000.0, "binding": "occupancy",
    "actions": [{"action": "rent", "autogroup_id": 11, "offer": OFFER, "sentence": "load rose"}],
    "notes": [{"code": "cap_day", "sentence": "The day's cap leaves $1.20."}],
    "offers": {"11": {"n": 12, "cheapest_usd_per_hour": 0.34, "dearest_usd_per_hour": 0.61}},
    "usd_per_hour_now": 0.2, "usd_per_hour_after": 0.541, "worst_first_hour_usd": 0.42,
}  # fmt: skip
SPEND: dict[str, Any] = {
    "rows": [{"day": "2026-11-21", "endpoint_name": "=HYPERLINK()", "gpu_usd": 1.0, "disk_usd": 0.1,
              "bandwidth_usd": 0.02, "download_usd": 0.0, "n_unknown_downloads": 2,
              "total_usd": 1.12, "is_deleted": True}],
    "aws_estimate_usd": 0.31, "month": {"so_far_usd": 61.3, "forecast_usd": 88.0,
                                       "counted_usd": 66.0, "cap_usd": 500.0},
    "fixed_fleet": {"n_workers": 9, "usd": 120.0, "saved_share": 0.49},
}  # fmt: skip


def test_status_says_health_cost_and_why(ballast: Ballast) -> None:
    out = ballast("status").out
    assert "SIMULATED MARKET" in out
    assert "Started worker 21000004" in out
    assert "$" in out
    assert ballast("status", "TGI-Llama3", "--json").json()["groups"][0]["id"] == 7


def test_status_shows_trouble(ballast: Ballast, console: Console) -> None:
    console.status["account"] |= {"is_frozen": True, "is_panicking": True}
    console.status["groups"][0] |= {"health": "bad", "health_reasons": ["No worker is ready."]}
    out = ballast("status").out
    assert "FROZEN" in out
    assert "PANIC" in out
    assert "No worker is ready." in out


def test_status_says_that_the_scaler_is_silent(ballast: Ballast, console: Console) -> None:
    assert "silent" not in ballast("status").out
    console.status["account"]["scaler"]["last_round_at"] = NOW - 600
    assert "The scaler has been silent for 10 minutes" in ballast("status").out


def test_status_tells_an_autogroup_that_still_explores(ballast: Ballast, console: Console) -> None:
    assert "testing GPUs" not in ballast("status").out
    autogroup = console.status["groups"][0]["autogroups"][0]
    autogroup["exploration"] |= {"phase": "exploring", "n_loaded": 1, "n_needed": 2}
    assert "testing GPUs for autogroup 11: 1 of 2 test workers ready" in ballast("status").out


def test_status_tells_what_caches_held_where_workers_tell(
    ballast: Ballast, console: Console
) -> None:
    console.status["groups"][0]["cache"] = {"hit_share": 0.297, "spared_share": 0.125}
    out = " ".join(ballast("status").out.split())
    assert "29.7 % of prompt tokens came from caches, which spares 12.5 % of the work" in out
    console.status["groups"][0]["cache"] = {"hit_share": None, "spared_share": None}
    assert "caches" not in ballast("status").out


def test_watch_is_refused_to_programs(ballast: Ballast) -> None:
    assert ballast("watch", "--json").code == 2


def test_workers_lists_every_worker(ballast: Ballast, console: Console) -> None:
    result = ballast("workers", "TGI-Llama3")
    assert "21000000" in result.out
    assert len(ballast("workers", "TGI-Llama3", "--json").json()) == len(console.workers[7])


def test_logs_prints_the_level_and_asks_for_the_tail(ballast: Ballast, console: Console) -> None:
    console.answers["/get_endpoint_logs/"] = {
        "info0": "one", "info1": "two\n\x1b[31mthree", "trace": "", "debug": "",
    }  # fmt: skip
    assert ballast("logs", "TGI-Llama3", "--level", "info0").out == "one\n"
    assert ballast("logs", "TGI-Llama3", "--tail", "100").out == "two\n\ufffd[31mthree\n"
    assert console.sent("POST", "/get_endpoint_logs/")[1] == {"id": 7, "tail": 100}
    console.answers["/get_autogroup_logs/"] = {
        "info0": "",
        "info1": "rented",
        "trace": "",
        "debug": "",
    }
    assert ballast("logs", "--autogroup", "6f0c4c3a").out == "rented\n"
    assert "target_util" in ballast("logs", "--account").out
    changed = {"before": {"max_load_per_s": None, "weight": 1.0}, "after": {"weight": 10.5}}
    console.events = [
        {"at": at, "actor": actor, "message": f"change {at}", "facts": changed}
        for at, actor in ((3, "a-1"), (2, "scaler"), (1, "a-1"))
    ]
    console.answers["/api/v0/keys/"] = {"results": [{"key_id": "a-1", "name": "on call"}]}
    told = ballast("logs", "--account", "--tail", "2").out
    assert "change 1" not in told
    assert "on call (a-1)" in told
    assert "scaler" in told
    assert "weight 1 → 10.5" in told
    assert "None" not in told


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        ("", "ab", "ab"),
        ("ab", "abc", "c"),
        ("abc", "bcd", "d"),
        ("abc", "abc", ""),
        ("abc", "xyz", "xyz"),
    ],
)
def test_following_prints_only_what_is_new(before: str, after: str, new: str) -> None:
    assert news(before, after) == new


def test_stats_now_and_over_time(ballast: Ballast, console: Console) -> None:
    console.answers["/get_endpoint_stats/"] = {"id": 7, "nworkers": 3, "curload": 70.5}
    assert "70.5" in ballast("stats", "TGI-Llama3").out
    assert "arriving_load" in ballast("stats", "TGI-Llama3", "--metric", "arriving_load").out
    wrong = ballast("stats", "TGI-Llama3", "--metric", "speed")
    assert wrong.code == 2
    assert "queue_time_s" in wrong.err


def test_plan_shows_actions_offers_and_prices_and_changes_nothing(
    ballast: Ballast, console: Console
) -> None:
    console.answers["/api/v0/plan"] = PLAN
    out = ballast("plan", "TGI-Llama3").out
    assert "1x RTX 4090, machine 5003" in out
    assert "$0.341" in out
    assert "12 offers, $0.340 to $0.610 an hour" in out
    assert "first hour at most $0.42" in out
    assert out.endswith("Nothing was done.\n")
    assert {call.method for call in console.calls if call.path != "/api/v0/plan"} == {"GET"}


@pytest.mark.parametrize(
    ("subject", "query"),
    [
        ((), {"round": "last"}),
        (("r-12",), {"round": "r-12"}),
        (("21000001",), {"instance_id": "21000001"}),
    ],
)
def test_explain_asks_for_a_worker_or_a_round(
    ballast: Ballast, console: Console, subject: tuple[str, ...], query: dict[str, str]
) -> None:
    console.answers["/api/v0/explain"] = {
        "subject": "Round r-12", "sentences": ["Load rose."], "candidates": ["A100: dearer"],
        "events": console.events,
    }  # fmt: skip
    result = ballast("explain", *subject)
    assert "Load rose." in result.out
    assert "A100: dearer" in result.out
    assert console.calls[-1].query == query


def test_explain_request_sends_the_payloads_keys_and_nothing_of_its_text(
    ballast: Ballast, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALLAST_AFFINITY_KEY", "of this test, and no other's")
    console.answers["/api/v0/explain"] = {
        "subject": "a request",
        "sentences": ["Worker 4 is warm."],
    }
    payload = tmp_path / "chat.json"
    payload.write_text('{"messages": [{"role": "user", "content": "my secret diary"}]}')
    result = ballast("explain", "request", "--endpoint", "TGI-Llama3", "--payload", str(payload))
    assert "Worker 4 is warm." in result.out
    (call,) = [call for call in console.calls if call.path == "/api/v0/explain"]
    assert (call.method, call.body["endpoint_id"], call.body["cost"]) == ("POST", 7, 256.0)
    assert len(call.body["affinity"]) == len(call.body["prefix_cost"]) == 1
    assert "diary" not in str(call.body)
    assert ballast("explain", "request").code == 2
    assert ballast("explain", "last", "--cost", "3").code == 2


@pytest.mark.parametrize("words", [("--account",), ("TGI-Llama3", "--json")])
def test_follow_is_refused_where_nothing_could_be_followed(
    words: tuple[str, ...], ballast: Ballast
) -> None:
    result = ballast("logs", "--follow", *words)
    assert result.code == 2
    assert "--follow prints text" in result.err


def test_spend_as_a_table_and_as_csv_without_formulas(
    ballast: Ballast, console: Console, tmp_path: Path
) -> None:
    console.answers["/api/v0/spend"] = SPEND
    out = ballast("spend", "--days", "7").out
    assert "forecast $88.00" in out
    assert "=HYPERLINK() (deleted)" in out
    assert "what 2 workers downloaded" in out
    assert "cap of $500.00: $66.00" in out
    assert "49 % saved" in out
    console.answers["/api/v0/spend"] = SPEND | {"month": SPEND["month"] | {"forecast_usd": None}}
    assert "forecast not known before an hour has passed" in ballast("spend").out
    dearer = SPEND | {"fixed_fleet": SPEND["fixed_fleet"] | {"saved_share": -0.2}}
    console.answers["/api/v0/spend"] = dearer
    assert "$120.00: 16.7 % less than was spent" in ballast("spend", "--days", "7").out
    console.answers["/api/v0/spend"] = SPEND
    path = tmp_path / "spend.csv"
    assert ballast("spend", "--csv", str(path)).code == 0
    with path.open(encoding="utf-8") as file:
        [row] = csv.DictReader(file)
    assert row["endpoint_name"] == "'=HYPERLINK()"
    assert (row["total_usd"], row["is_deleted"]) == ("1.12", "True")


def test_a_csv_that_cannot_be_written_is_told(ballast: Ballast, tmp_path: Path) -> None:
    result = ballast("spend", "--csv", str(tmp_path / "absent" / "spend.csv"))
    assert result.code == 1
    assert "absent/spend.csv' cannot be written: No such file" in result.err


def test_spend_by_worker_names_each_machine(ballast: Ballast, console: Console) -> None:
    machine = {"instance_id": 21_000_000, "autogroup_id": 11, "gpu_type": "1x RTX 4090"}
    console.answers["/api/v0/spend"] = SPEND | {"rows": [SPEND["rows"][0] | machine]}
    assert "21000000  1x RTX 4090  $1.000" in ballast("spend", "--by", "worker").out
    assert console.calls[-1].query == {"days": "30", "by": "worker"}
    text = ballast("spend", "--by", "worker", "--csv", "-").out
    [row] = csv.DictReader(text.splitlines())
    assert (row["instance_id"], row["gpu_type"]) == ("21000000", "1x RTX 4090")


def test_compare_says_when_there_is_not_enough_data(ballast: Ballast) -> None:
    assert (
        "needs 1 more measured worker and 40 more requests" in ballast("compare", "TGI-Llama3").out
    )


def test_rollout_by_endpoint_name_means_its_newest_autogroup(
    ballast: Ballast, console: Console
) -> None:
    console.answers |= {"/api/v0/rollout": {}, "/api/v0/promote": {}}
    assert ballast("rollout", "TGI-Llama3", "10").code == 0
    assert console.sent("POST", "/api/v0/rollout") == [{"autogroup_id": 12, "percent": 10.0}]
    assert ballast("promote", "12", "--yes").code == 0
    assert console.sent("POST", "/api/v0/promote") == [{"autogroup_id": 12, "revision": 2}]


def test_pause_and_resume_groups_and_autogroups(ballast: Ballast, console: Console) -> None:
    ballast("pause", "TGI-Llama3", "--yes")
    ballast("resume", "TGI-Llama3")
    ballast("pause", "12", "--autogroup", "--yes")
    assert console.sent("PUT", "/api/v0/endptjobs/7/") == [
        {"endpoint_state": "suspended", "revision": 4},
        {"endpoint_state": "active", "revision": 5},
    ]
    assert console.sent("PUT", "/api/v0/autojobs/12/") == [{"state": "paused", "revision": 2}]


def test_freeze_all_or_one(ballast: Ballast, console: Console) -> None:
    assert "The account of stage dev is frozen" in ballast("freeze").out
    assert ballast("freeze", "TGI-Llama3").code == 0
    assert ballast("unfreeze").code == 0
    assert console.sent("POST", "/api/v0/freeze") == [
        {"frozen": True}, {"frozen": True, "endpoint_id": 7}, {"frozen": False},
    ]  # fmt: skip


def test_destroy_that_does_not_end_in_time_is_5(ballast: Ballast) -> None:
    result = ballast("destroy", "TGI-Llama3", "--wait", "--timeout", "0", "--yes")
    assert result.code == 5
    assert "3 instances are still there" in result.err


def test_destroy_waits_for_a_list_that_can_be_trusted(ballast: Ballast, console: Console) -> None:
    console.status["groups"] = []
    console.status["account"]["inventory"]["state"] = "unknown"
    assert ballast("destroy", "TGI-Llama3", "--wait", "--timeout", "0", "--yes").code == 5


def test_doctor_lists_fixes_and_ends_with_5(ballast: Ballast, console: Console) -> None:
    checks = [
        {"name": "KMS", "ok": True, "detail": "alias/ballast-dev"},
        {"name": "HF_TOKEN", "ok": False, "detail": "missing", "fix": "ballast template publish"},
    ]
    console.answers["/api/v0/doctor"] = {"checks": checks}
    result = ballast("doctor", "--no-aws")
    assert result.code == 5
    assert "ballast template publish" in result.out
    assert "not well: HF_TOKEN" in result.err
    checks.pop()
    assert ballast("doctor", "--no-aws").code == 0


def test_doctor_looks_at_aws_with_the_owners_own_rights(
    ballast: Ballast, console: Console, aws: None
) -> None:
    console.answers["/api/v0/doctor"] = {"checks": []}
    checks = {one["name"]: one for one in ballast("doctor", "--stage", "odd", "--json").json()}
    assert checks["AWS identity"]["ok"]
    assert not checks["AWS tables"]["ok"]
    assert "ballast-odd-config" in checks["AWS tables"]["detail"]
    assert "are stage and region" in checks["AWS secret"]["fix"]
    assert "`python -m infra.deploy core --stage odd` makes it" in checks["AWS secret"]["fix"]
    boto3.client("secretsmanager").create_secret(Name="ballast-odd/vast-api-key", SecretString="x")
    checks = {one["name"]: one for one in ballast("doctor", "--stage", "odd", "--json").json()}
    assert checks["AWS secret"]["ok"]


def test_doctor_looks_for_the_deployment_that_the_server_is(
    ballast: Ballast, console: Console, aws: None
) -> None:
    console.answers["/api/v0/doctor"] = {"checks": []}
    console.status |= {"stage": "prod", "is_simulated": False}
    checks = {one["name"]: one for one in ballast("doctor", "--json").json()}
    assert "ballast-prod-config" in checks["AWS tables"]["detail"]
    console.status |= {"stage": "dev", "is_simulated": True}
    checks = {one["name"]: one for one in ballast("doctor", "--json").json()}
    assert "AWS identity" not in checks  # a newcomer's machine has none


@pytest.mark.parametrize(
    "words",
    [
        ("panic", "--direct", "--yes"),
        ("panic", "--direct", "--clear"),
        ("freeze", "--direct"),
        ("secret", "set", "VAST_API_KEY"),
    ],
)
def test_no_deployment_is_acted_on_that_was_not_named(
    ballast: Ballast, words: tuple[str, ...]
) -> None:
    result = ballast(*words)
    assert result.code == 2
    assert "--stage NAME" in result.err


@pytest.mark.parametrize("url", ["https://console.vast.ai", "http://10.0.0.1:80", ""])
def test_chaos_is_for_this_machine_only(ballast: Ballast, url: str) -> None:
    result = ballast("chaos", "host-dies", "--market-url", url)
    assert result.code == 2


def test_ctrl_c_ends_quietly_with_130(ballast: Ballast) -> None:
    words = [*DEFAULT_CTRL_C, sys.executable, "-m", "ballast.cli", "watch", "--interval", "0.5"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        error = process.stderr.read()
        assert process.wait(10) == 130
    assert b"Traceback" not in error


ADOPT = [
    {"instance_id": 41, "endpoint_id": 7, "endpoint_name": "llm", "state": "ready",
     "gpu": "1x RTX 4090", "usd_per_hour": 0.4, "why": "table"},
    {"instance_id": 42, "endpoint_id": 7, "endpoint_name": "llm", "state": "ready",
     "gpu": "1x RTX 4090", "usd_per_hour": 0.5, "why": "label"},
]  # fmt: skip


def test_adopt_shows_why_asks_and_settles(ballast: Ballast, console: Console) -> None:
    console.answers["/api/v0/adopt"] = {"instances": ADOPT, "n_confirmed": 2, "n_disowned": 1}
    shown = ballast("adopt")
    assert shown.code == 6  # nobody is there to answer
    assert "its row was lost" in shown.err
    assert "its label is not ours" in shown.err
    assert "2 instances confirmed" in ballast("adopt", "--yes").out
    assert "1 instance taken out of the books" in ballast("adopt", "42", "--not-ours", "--yes").out
    assert console.sent("POST", "/api/v0/adopt") == [
        {"instance_ids": [41, 42], "ours": True}, {"instance_ids": [42], "ours": False},
    ]  # fmt: skip
    assert "43 does not wait" in ballast("adopt", "43", "--yes").err
    assert "which instances" in ballast("adopt", "--not-ours").err
