"""A name that is not there: every command says which, names the nearest, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from ballast.cli.lookup import not_found
from ballast.cli.remote.server import NO_SUCH_PATH
from ballast.cli.root import root
from fakes.console.server import Console

Ballast = Callable[..., Any]  # runs the command in this process, see conftest.py

UNKNOWN = "no-such-name"
NO_NAMES = {  # what is typed there names nothing that the deployment has
    "ballast call prompt", "ballast chaos fault", "ballast explain subject",
    "ballast notify add address", "ballast notify add channel", "ballast completion shell",
    "ballast secret set name", "ballast template publish source", "ballast up model",
    "ballast rollout percent", "ballast adopt instance_ids",
}  # fmt: skip
MAKES_ONE = {
    "ballast create endpoint", "ballast create autogroup", "ballast update endpoint",
}  # fmt: skip
NAMING_OPTIONS = ("autogroup", "endpoint", "endpoint_name")
BESIDE = {  # what else these lines need
    "ballast rollout": ["10"],
    "ballast call": ["x"],
    "ballast simulate": ["--set", "target_util=0.8"],
    "ballast update endpoint": ["--min_load", "3"],
    "ballast update autogroup": ["--test_workers", "3"],
    "ballast update key": ["--rotate"],
    "ballast create key": ["--name", "shop"],
    "ballast explain": ["last"],
}


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with the words that call it."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    for child in command.commands.values():
        yield from commands(child, f"{path} {child.name}")


def lines() -> Iterator[list[str]]:
    """Every place of every command where a name is typed, with a name that is not there."""
    for path, command in commands(root, "ballast"):
        words, beside = path.split()[1:], list(BESIDE.get(path, ()))
        if any(one.name == "yes" for one in command.params):
            beside.append("--yes")
        asks = [
            one
            for one in command.params
            if isinstance(one, click.Argument) and f"{path} {one.name}" not in NO_NAMES
        ]
        if asks:
            yield [*words, UNKNOWN, *beside]
        for option in command.params:
            if not isinstance(option, click.Option) or option.name not in NAMING_OPTIONS:
                continue
            if option.is_flag:
                yield [*words, UNKNOWN, option.opts[0], *beside]
            elif path not in MAKES_ONE:
                known = ["TGI-Llama3"] if asks and asks[0].required else []
                yield [*words, *known, option.opts[0], UNKNOWN, *beside]


@pytest.mark.parametrize("line", list(lines()), ids=" ".join)
def test_an_unknown_name_is_refused_in_one_sentence_with_the_nearest(
    ballast: Ballast, console: Console, line: list[str]
) -> None:
    key = {"key_id": "e7-r-abc", "name": "shop", "verbs": ["route"], "endpoint_name": "TGI-Llama3"}
    console.answers |= {
        "/api/v0/keys/": {"results": [key]},
        "/api/v0/receivers/": {"results": [{"name": "slack"}]},
    }
    result = ballast(*line)
    assert result.code == 1, (result.out, result.err)
    refusal, fix = result.err.strip().splitlines()[-2:]
    assert refusal.startswith("ballast: there is no ")
    assert repr(UNKNOWN) in refusal
    assert fix.startswith("  fix: known ")
    assert any(name in fix for name in ("TGI-Llama3", "e7-r-abc", "slack"))
    assert [call for call in console.calls if call.method != "GET"] == []
    assert NO_SUCH_PATH not in result.err


def test_the_lines_cover_what_owners_type() -> None:
    first = {line[0] for line in lines()}
    assert first >= {
        "call", "compare", "delete", "destroy", "down", "explain", "export", "freeze", "logs",
        "pause", "plan", "promote", "resume", "rollback", "rollout", "show", "simulate", "spend",
        "stats", "status", "unfreeze", "update", "watch", "workers",
    }  # fmt: skip
    assert len(list(lines())) > 30


def test_the_nearest_come_first_and_a_long_list_is_cut() -> None:
    names = [f"chat-{number}" for number in range(40)] + ["TGI-Llama3"]
    error = not_found("endpoint", "tgi-lama", names)
    assert error.message == "there is no endpoint 'tgi-lama'"
    assert error.fix.startswith("known endpoints: TGI-Llama3, ")
    assert error.fix.endswith(" and 36 more")
    assert not_found("endpoint", "x", []).fix == "known endpoints: none yet"


def test_an_autogroup_of_another_group_is_none_of_this_one(
    ballast: Ballast, console: Console
) -> None:
    console.endpoints[8] = console.endpoints[7] | {"id": 8, "endpoint_name": "Chat"}
    for command in ("workers", "stats"):
        result = ballast(command, "Chat", "--autogroup", "11")
        assert result.code == 1
        assert "there is no Chat autogroup '11'" in result.err


def test_who_calls_a_group_that_can_have_no_worker_is_told_at_once(
    ballast: Ballast, console: Console
) -> None:
    """Not after the ten minutes that a call waits."""
    console.endpoints[7]["api_key"] = "blk.a-roa-console.1.fake"
    console.status["groups"][0] |= {"autogroups": []}
    console.answers["/route/"] = {"status": "total workers: 0", "request_idx": 1}
    result = ballast("call", "TGI-Llama3", "x")
    assert result.code == 1
    assert "endpoint 'TGI-Llama3' has no autogroup: no worker will come" in result.err


@pytest.mark.parametrize(
    "words",
    [
        ("watch", "--interval", "nan"),
        ("call", "TGI-Llama3", "hi", "--cost", "nan"),
        ("destroy", "TGI-Llama3", "--timeout", "nan"),
        ("panic", "--timeout", "-1"),
        ("rollout", "101", "nan"),
    ],
)
def test_a_number_that_is_none_is_refused_before_anything_is_asked(
    ballast: Ballast, console: Console, words: tuple[str, ...]
) -> None:
    result = ballast(*words)
    assert result.code == 2
    assert words[-1] in result.err
    assert console.calls == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'endpoint_name: "\xe9"\n', "is not UTF-8 text"),
        (b"endpoint_name: a\nendpoint_name: b\n", "'endpoint_name' is given twice"),
        (b"endpoint_name: 2024-01-01\n", "endpoint_name: 2024-01-01 is a date"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_in_words(
    ballast: Ballast, tmp_path: Path, content: bytes, told: str
) -> None:
    path = tmp_path / "group.yaml"
    path.write_bytes(content)
    result = ballast("apply", "-f", str(path), "--dry-run")
    assert result.code == 2
    assert told in result.err
