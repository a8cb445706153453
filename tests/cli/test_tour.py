"""The tour shows every command, and nothing that must not be shown."""

from __future__ import annotations

import re
from pathlib import Path

import click

from cli.root import root

TOUR = Path(__file__).parent.parent.parent / "docs" / "tour.md"
NOT_SHOWN = {"watch", "secret", "completion"}  # never ends; asks for a secret; a script for shells


def test_every_command_is_in_the_tour() -> None:
    text = TOUR.read_text(encoding="utf-8")
    missing = [name for name in root.commands if f"$ ballast {name}" not in text]
    assert set(missing) <= NOT_SHOWN


def test_every_command_has_help() -> None:
    def walk(command: click.Command, path: str) -> list[str]:
        children = command.commands.values() if isinstance(command, click.Group) else ()
        found = [line for child in children for line in walk(child, f"{path} {child.name}")]
        options = [one for one in command.params if isinstance(one, click.Option) and not one.help]
        return found + ([path] if not command.help or options else [])

    assert walk(root, "ballast") == []


def test_the_tour_holds_no_key_and_no_path_of_the_machine_that_wrote_it() -> None:
    text = TOUR.read_text(encoding="utf-8")
    assert not re.search(r"blk\.[a-z0-9-]+\.\d+\.[A-Za-z0-9_-]{8}", text)
    assert not re.search(r"\s/(tmp|home|root|usr)/|Traceback|127\.0\.0\.1:\d", text)
