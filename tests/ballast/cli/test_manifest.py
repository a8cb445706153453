"""`apply`: a file says how a group should be; the difference is shown, then made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ballast.cli.errors import CliError
from ballast.cli.manifest import compare_manifest, parse_manifest
from fakes.console.server import Console

Ballast = Callable[..., Any]  # runs the command in this process, see conftest.py

FILE = """
endpoint_name: TGI-Llama3
min_load: 100
max_usd_per_hour: 3.5
schedules:
  - {cron: "0 8 * * mon-fri", duration: 10h, min_load: 200}
autogroups:
  - {template_hash: 6f0c4c3a, search_params: gpu_ram>=23 num_gpus=1, weight: 0.9}
  - {template_hash: abcdef, test_workers: 2}
"""


@pytest.fixture
def group_yaml(tmp_path: Path) -> Path:
    path = tmp_path / "group.yaml"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_apply_shows_the_difference_and_makes_just_that(
    ballast: Ballast, console: Console, group_yaml: Path
) -> None:
    shown = ballast("apply", "-f", str(group_yaml), "--dry-run")
    assert shown.code == 0
    assert "max_usd_per_hour: 4.0 → 3.5" in shown.out
    assert "+ create autogroup abcdef" in shown.out
    assert "min_load: 1" not in shown.out
    asked = {call.path for call in console.calls if call.method != "GET"}
    assert asked == {"/api/v0/preview"}  # what it would cost; nothing is changed

    assert ballast("apply", "-f", str(group_yaml)).code == 6  # nobody to say yes
    assert ballast("apply", "-f", str(group_yaml), "--yes").code == 0
    [endpoint] = console.sent("PUT", "/api/v0/endptjobs/7/")
    assert set(endpoint) == {"max_usd_per_hour", "schedules", "revision"}
    assert endpoint["schedules"][0]["duration_s"] == 36_000.0
    assert console.sent("POST", "/api/v0/autojobs/") == [
        {"template_hash": "abcdef", "test_workers": 2, "endpoint_name": "TGI-Llama3"}
    ]
    assert "nothing to do" in ballast("apply", "-f", str(group_yaml), "--yes").out


def test_a_new_group_is_created_with_its_autogroups(
    ballast: Ballast, console: Console, group_yaml: Path
) -> None:
    console.endpoints.clear()
    console.autogroups.clear()
    assert ballast("apply", "-f", str(group_yaml), "--yes").code == 0
    assert len(console.sent("POST", "/api/v0/endptjobs/")) == 1
    assert len(console.sent("POST", "/api/v0/autojobs/")) == 2


def test_what_the_file_does_not_name_stays_unless_pruned(console: Console) -> None:
    manifest = parse_manifest(FILE)
    rows = list(console.autogroups.values())
    kept = compare_manifest(manifest, console.endpoints[7], rows, prunes=False)
    pruned = compare_manifest(manifest, console.endpoints[7], rows, prunes=True)
    assert [one.verb for one in kept] == ["update", "create"]
    assert [(one.verb, one.identity) for one in pruned[2:]] == [("delete", 12)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must be a mapping"),
        ("- a", "must be a mapping"),
        ("{", "not YAML"),
        ("endpoint_name: a", "max_usd_per_hour is missing"),
        ("endpoint_name: a'b\nmax_usd_per_hour: 1", "is not a name"),
        ("endpoint_name: a\nmax_usd_per_hour: 1\nmin_lode: 3", "did you mean min_load"),
        ("endpoint_name: a\nmax_usd_per_hour: 1\ntarget_util: 7", "target_util: 7"),
        ("endpoint_name: a\nmax_usd_per_hour: .nan", "max_usd_per_hour"),
        ("endpoint_name: a\nmax_usd_per_hour: 1\nautogroups: 3", "list of mappings"),
        ("endpoint_name: a\nmax_usd_per_hour: 1\nautogroups: [{weight: 1}]", "template_hash"),
        (
            "endpoint_name: a\nmax_usd_per_hour: 1\nautogroups: [{template_hash: x, weight: -1}]",
            "weight: -1",
        ),
        (
            "endpoint_name: a\nmax_usd_per_hour: 1\nschedules: [{cron: '0 8 * *', duration: 1h, "
            "min_load: 1}]",
            "4 fields",
        ),
        ("endpoint_name: !!python/object/apply:os.system [id]", "not YAML"),
    ],
)
def test_a_bad_file_names_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(CliError, match=words) as refused:
        parse_manifest(text)
    assert refused.value.code == 2


def test_an_id_that_is_not_of_this_group_is_refused(console: Console) -> None:
    text = "endpoint_name: a\nmax_usd_per_hour: 1\nautogroups: [{id: 99, template_hash: x}]"
    with pytest.raises(CliError, match="no autogroup 99"):
        compare_manifest(parse_manifest(text), None, [], prunes=False)
