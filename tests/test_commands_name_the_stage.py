"""Whoever copies a command from a page or a message acts on the stage that it names.

A command is a span between backticks, or a line of a block of `sh`, that goes on after its name:
`make deploy` alone is the command's name.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ACTS = re.compile(
    r"make (un)?deploy \S|infra\.(bootstrap|restore|undeploy|policies)( --?\w|`)|"
    r"infra\.deploy (core|--no)|secret set [A-Z_]+[`\s]|(freeze|panic) .*--direct|"
    r"chalice (deploy|package|delete) -"
)
NAMES = re.compile(r"--stage[ =]\S|STAGE=\S")
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
SOURCES = [
    path
    for folder in ("ballast/cli", "chalicelib", "infra")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "worker_bundle" not in path.parts
]


def commands(text: str) -> Iterator[str]:
    """Spans and lines that act on a deployment."""
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
             for line in block.splitlines()]  # fmt: skip
    spans = re.findall(r"`[^`\n]+`", text.replace("```", ""))
    return (one for one in [*lines, *spans] if ACTS.search(one))


def texts_of(source: Path) -> Iterator[str]:
    """What a module may print: its strings, those with values in them as well."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_name_the_stage(page: Path) -> None:
    assert [one for one in commands(page.read_text()) if not NAMES.search(one)] == []


def test_the_commands_of_a_message_name_the_stage() -> None:
    found = [(source.name, one) for source in SOURCES for text in texts_of(source)
             for one in commands(text)]  # fmt: skip
    assert len(found) > 10
    nameless = [one for one in found if not NAMES.search(one[1])]
    # The pieces of an f-string are constants too; it is judged as a whole.
    assert [one for one in nameless if not one[1].rstrip("`").endswith(("--stage", "STAGE="))] == []


def test_a_command_without_its_stage_is_found() -> None:
    text = "`make deploy` asks. `make deploy ARGS=--split`, `ballast secret set VAST_API_KEY`"
    assert len(list(commands(text))) == 2
