"""Values that nobody can mean: every number of every command refuses them, in words, at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import pytest

from ballast.cli.errors import CliError
from ballast.cli.manifest import parse_manifest
from ballast.cli.root import root
from fakes.console.server import Console
from tests.ballast.cli.test_unknown_names import commands

Ballast = Callable[..., Any]  # runs the command in this process, see conftest.py

ODD_NUMBERS = (
    "nan", "inf", "-inf", "1e309", "0x10", "1_0", " 5", "5 ", "", "ten",
    "\N{FULLWIDTH DIGIT ONE}\N{FULLWIDTH DIGIT TWO}", "\N{ARABIC-INDIC DIGIT THREE}",
    "\N{SUPERSCRIPT TWO}",
)  # fmt: skip
TEXTS = ("text", "filename", "path", "directory", "choice", "boolean", "duration", "file")


def numbers() -> dict[str, click.Parameter]:
    """Every option and argument that is a number, by the words that call it."""
    return {
        f"{path} {one.name}": one
        for path, command in commands(root, "ballast")
        for one in command.params
        if one.type.name not in TEXTS
    }


def test_every_number_of_every_command_refuses_what_only_python_reads_as_one() -> None:
    asked = numbers()
    assert len(asked) > 40
    for where, one in asked.items():
        for text in ODD_NUMBERS:
            with pytest.raises(click.BadParameter) as refusal:
                one.type.convert(text, one, None)
            assert repr(text) in refusal.value.message, where


@pytest.mark.parametrize("text", ["1_0", "0x10", "010", "1:30", ".nan", ".inf"])
def test_a_file_has_no_number_that_yaml_reads_otherwise_than_its_owner(text: str) -> None:
    with pytest.raises(CliError) as refusal:
        parse_manifest(f"endpoint_name: chat\nmax_usd_per_hour: {text}\n")
    assert repr(text) in refusal.value.message


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["update", "account", "--max-usd-per-hour", "1_0", "--yes"], "'1_0'"),
        (["simulate", "TGI-Llama3", "--set", "max_workers=1_0"], "max_workers: '1_0'"),
        (
            ["create", "endpoint", "--endpoint-name", "x", "--schedule", "0 8 * * *;10h;nan"],
            "'nan' is not a load",
        ),
        (
            ["create", "autogroup", "--endpoint-name", "x", "--endpoint-id", "7",
             "--template-hash", "h"],
            "give one of them",
        ),
        (["apply", "-f", "/proc/self/mem"], "/proc/self/mem cannot be read"),
        (["probe", "--rent", "--record", "/"], "no file can be written there"),
        (["probe", "--record", "/no/such/folder/record.json"], "no file can be written there"),
    ],
)  # fmt: skip
def test_an_odd_value_is_named_and_nothing_is_asked_of_the_server(
    ballast: Ballast, console: Console, words: list[str], told: str
) -> None:
    result = ballast(*words)
    assert (result.code, result.out) == (2, "")
    assert told in result.err
    assert not console.calls
