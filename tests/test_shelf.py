"""The owners' shelf: every `ballast …` line of the documents names a command and options that are.

What the lines do on a running system is in docs/tour.md, which a program writes by running them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ballast.cli.root import root

ROOT = Path(__file__).parent.parent
SHELF = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
SKIPPED = frozenset({"tour.md"})  # what it shows was run
_LINE = re.compile(r"(?:^|[`(]|&& |\| )(?:\.venv/bin/)?ballast ([a-z][^`\n]*)", re.M)


def lines_of(path: Path) -> Iterator[str]:
    """The command lines of a document, without comments, prose and continuations."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for found in _LINE.finditer(text):
        line = re.split(r"\s#|\s{3,}| \| |`|;\s|…$| > | && ", found[1])[0].strip()
        if line:
            yield line


LINES = [(path.name, line) for path in SHELF if path.name not in SKIPPED for line in lines_of(path)]


def find_command(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that a line calls, and the words that are left for it."""
    command: click.Command = root
    context = click.Context(root)
    while isinstance(command, click.Group) and words:
        found = command.get_command(context, words[0].replace("_", "-"))
        assert found is not None, f"no command {words[0]!r}"
        command, words = found, words[1:]
    return command, words


@pytest.mark.parametrize(("name", "line"), LINES)
def test_a_documented_line_has_a_command_and_options_that_are_there(name: str, line: str) -> None:
    try:
        words = shlex.split(line)
    except ValueError:  # a quote that the prose around it closes
        words = line.split()
    alternatives = [word for word in words if "|" in word]
    if alternatives:  # `ballast notify add|list`
        words = [word.split("|")[0] for word in words]
    command, rest = find_command(words)
    known = {opt for one in command.params for opt in (*one.opts, *one.secondary_opts)}
    known |= {"--help", "-h"}
    written = [word.partition("=")[0].replace("_", "-") for word in rest if word.startswith("-")]
    unknown = [w for w in written if w.startswith("--") and w.rstrip(".,)") not in known]
    assert unknown == [], f"{name}: ballast {line}"


def test_the_shelf_is_read() -> None:
    assert len(LINES) > 60
