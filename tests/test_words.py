"""Words that strangers did not understand are in no text that an owner reads.

The texts: the owners' pages, the help of every command, the page, and every sentence in the code of
the control plane and the command. What they once said, and what took its place:
docs/internals/findings.md, users F.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ballast.cli.root import root

ROOT = Path(__file__).parents[1]
PATTERN = re.compile(
    r"Returning instance|Recalling|against the caps at worst|besides, AWS charged"
    r"|dearest for what it serves|is exploring machine types|is not known for sure|may not admin"
    r"|the verb admin|user key: invalid api_key|An autogroup of the file"
    r"|as if it came a little later|our own trouble|The forecast goes on|nothing is forgotten"
    r"|doubt destroys nothing"
    r"|Make these \d|Show the fleet|>Dark or light|[Gg]roup_cap_\w+"
    r"|\b1 (?:keys|endpoints|workers|requests|autogroups|groups|machines|offers|changes)\b"
    r"|\b(?:poke[ds]?|poking|pepper)\b"
)
MEANT = {
    "the first signing key": "aws.md explains the pepper where it names it",
    "The pepper of workers' tokens": "runbook.md: what is lost, under the name that the table has",
    "pepper#": "the key of its row in the table",
    "a new pepper only if": "as above",
    "If the pepper is lost": "as above",
    "The pepper and its backups": "as above",
    "policies, pokes and stacks": "aws.md: names of what is deployed",
}
IDENTIFIERS = re.compile(r"[\w.:#/-]*")  # names for programs, no sentences
MEAN_WORDS, MOST_WORDS = 15, 50


def shelf() -> Iterator[tuple[str, str]]:
    """The owners' pages. The tour shows what other texts here say."""
    for path in (ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))):
        if path.name != "tour.md":
            yield path.name, path.read_text(encoding="utf-8")


def helps(command: click.Command = root, name: str = "ballast") -> Iterator[tuple[str, str]]:
    """The help of a command and of all below it."""
    context = click.Context(command, info_name=name)
    yield name, command.get_help(context)
    if isinstance(command, click.Group):
        for word in command.list_commands(context):
            below = command.get_command(context, word)
            assert below is not None
            yield from helps(below, f"{name} {word}")


def sentences_of(path: Path) -> str:
    """The texts in a module that are no docstring and no mere name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = {
        id(statement.value)
        for node in ast.walk(tree)
        if isinstance(node, owners)
        for statement in node.body
        if isinstance(statement, ast.Expr)
    }
    texts = (
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
    )
    return "\n".join(text for text in texts if not IDENTIFIERS.fullmatch(text))


def code() -> Iterator[tuple[str, str]]:
    """What the code says: notices, troubles, reasons, errors, the page."""
    for folder in ("chalicelib", "ballast"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), sentences_of(path)
    for path in sorted((ROOT / "chalicelib" / "dashboard").glob("*.[jh]*")):
        text = path.read_text(encoding="utf-8")
        yield path.name, re.sub(r"^\s*(//|/?\*).*$", "", text, flags=re.M)


def unknown_words(text: str) -> list[str]:
    """What of the pattern is in a text, with its surroundings."""
    found = [text[max(0, m.start() - 50) : m.end() + 50] for m in PATTERN.finditer(text)]
    return [one for one in found if not any(words in one for words in MEANT)]


def test_no_text_that_an_owner_reads_has_a_word_that_strangers_did_not_understand() -> None:
    texts = [*shelf(), *helps(), *code()]
    assert len(texts) > 300
    assert {name: found for name, text in texts if (found := unknown_words(text))} == {}


@pytest.mark.parametrize(
    "said", ["Returning instance 4", "1 keys", "this key may not admin", "group_cap_hour", "poked"]
)
def test_such_a_word_is_found(said: str) -> None:
    assert unknown_words(f"It said: {said}.")


@pytest.mark.parametrize(("name", "text"), list(shelf()))
def test_an_owners_page_is_written_in_short_sentences(name: str, text: str) -> None:
    text = re.sub(r"```.*?```|^\|.*?$|^#.*?$", "", text, flags=re.S | re.M)
    paragraphs = re.split(r"\n\s*\n|\n[-*\d]+\.? ", re.sub(r"`[^`]*`", "x", text))
    parts = [one for text in paragraphs for one in re.split(r"(?<=[.!?:;])\s", text)]
    lengths = [len(one.split()) for one in parts if len(one.split()) > 2]
    assert sum(lengths) / len(lengths) <= MEAN_WORDS, name
    assert max(lengths) <= MOST_WORDS, name
