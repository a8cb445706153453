"""`rollback` and `export`, `template list`, versions of workers, lines of a log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ballast.cli.manifest import parse_manifest
from fakes.console.server import Console

Ballast = Callable[..., Any]  # runs the command in this process, see conftest.py


def test_rollback_brings_back_what_the_last_change_replaced(
    ballast: Ballast, console: Console
) -> None:
    console.autogroups[11]["template_hash"] = "new"
    console.events = [
        {
            "at": 20.0, "actor": "a-roa-me", "message": "autogroup 11 changed",
            "facts": {"before": {"weight": 1}, "after": {"weight": 2}},
        },
        {
            "at": 10.0, "actor": "a-roa-me", "message": "autogroup 11 changed",
            "facts": {"before": {"template_hash": "old"}, "after": {"template_hash": "new"}},
        },
    ]  # fmt: skip
    dry = ballast("rollback", "11", "--dry-run")
    assert dry.code == 0
    assert "template_hash new → old" in dry.err
    assert console.sent("PUT", "/api/v0/autojobs/11/") == []
    assert ballast("rollback", "11", "--yes").code == 0
    assert console.sent("PUT", "/api/v0/autojobs/11/") == [{"template_hash": "old", "revision": 2}]


def test_rollback_without_an_earlier_template_says_so(ballast: Ballast, console: Console) -> None:
    console.events = []
    result = ballast("rollback", "11", "--yes")
    assert result.code == 1
    assert "no earlier template" in result.err


def test_what_export_prints_apply_takes_and_finds_nothing_to_do(
    ballast: Ballast, console: Console, tmp_path: Path
) -> None:
    console.endpoints[7] |= {"given": ["max_usd_per_hour"], "max_usd_per_hour": 4.0}
    text = ballast("export", "TGI-Llama3").out
    assert parse_manifest(text).endpoint["max_usd_per_hour"] == 4.0
    assert yaml.safe_load(text)["autogroups"][0]["id"] == 11
    path = tmp_path / "group.yaml"
    path.write_text(text, encoding="utf-8")
    assert "nothing to do" in ballast("apply", "-f", str(path), "--yes").out


def test_template_list_names_back_ends_and_what_is_in_use(
    ballast: Ballast, console: Console
) -> None:
    hash_id = console.autogroups[11]["template_hash"]
    console.answers["/api/v0/template/"] = {"templates": [{"hash_id": hash_id, "name": "TGI"}]}
    out = ballast("template", "list").out
    assert "vllm/vllm-openai" in out
    assert f"{hash_id}" in out
    assert "TGI-Llama3" in out
    del console.answers["/api/v0/template/"]
    assert ballast("template", "list", "--json").json()["used"][0]["template_hash"] == hash_id


def test_workers_shows_which_template_each_runs_and_what_a_stopped_one_costs(
    ballast: Ballast, console: Console
) -> None:
    console.autogroups[11] |= {"template_hash": "6f0c4c3a99", "template_revision": 2}
    first, second = console.workers[7][:2]
    first |= {"autogroup_id": 11, "template_revision": 1, "state": "ready"}
    second |= {
        "autogroup_id": 11, "template_revision": 2, "state": "stopped", "cur_load": 17.5,
        "usd_per_hour": 0.39, "storage_usd_per_hour": 0.003,
    }  # fmt: skip
    out = ballast("workers", "TGI-Llama3").out
    assert "r1 (old; 6f0c4c3a is r2)" in out
    assert "$0.003 ($0.390 running)" in out
    assert "17.5" not in out


def test_tail_counts_lines(ballast: Ballast, console: Console) -> None:
    lines = [f"line {i}" for i in range(500)]
    text = "\n".join(lines)
    levels = dict.fromkeys(("info0", "info1", "trace", "debug"), text)
    console.answers["/get_endpoint_logs/"] = levels
    assert ballast("logs", "TGI-Llama3", "--tail", "3").out.split("\n")[:3] == lines[-3:]
    assert len(ballast("logs", "TGI-Llama3", "--tail", "-1").out.splitlines()) == 500
    assert len(ballast("logs", "TGI-Llama3").out.splitlines()) == 100
    ballast("logs", "TGI-Llama3", "--tail", "2", "--json")
    asked = [one["tail"] for one in console.sent("POST", "/get_endpoint_logs/")]
    assert asked == [3, -1, 100, 2]
