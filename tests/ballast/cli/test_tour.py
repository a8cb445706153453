"""The tour shows every command, and nothing that must not be shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ballast.cli.root import root

TOUR = Path(__file__).parents[3] / "docs" / "tour.md"


def test_every_command_is_in_the_tour() -> None:
    text = TOUR.read_text(encoding="utf-8")
    assert [name for name in root.commands if f"$ ballast {name}" not in text] == []


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command below one, with the words that call it."""
    yield path, command
    for child in command.commands.values() if isinstance(command, click.Group) else ():
        yield from commands(child, f"{path} {child.name}")


@pytest.mark.parametrize(("path", "command"), list(commands(root, "ballast")))
def test_every_command_has_help_with_an_example_and_a_text_for_each_option(
    path: str, command: click.Command
) -> None:
    options = [one for one in command.params if isinstance(one, click.Option)]
    assert [one.name for one in options if not one.help] == []
    assert path in (command.help or "").partition("\n")[2]


def test_the_tour_holds_no_key_and_no_path_of_the_machine_that_wrote_it() -> None:
    text = TOUR.read_text(encoding="utf-8")
    assert not re.search(r"blk\.[a-z0-9-]+\.\d+\.[A-Za-z0-9_-]{8}", text)
    assert not re.search(r"\s/(tmp|home|root|usr)/|Traceback|127\.0\.0\.1:\d", text)
